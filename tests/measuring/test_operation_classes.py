"""The class of an operation by its name in three frameworks, or by the opcodes of XLA inside it."""

from __future__ import annotations

import pytest

from harness.measuring.operation_classes import CLASSES, class_of_name, class_of_opcodes, plain_kernel, starts_others

NAMES = {
    "matmul": (
        "aten::mm aten::addmm_ aten::bmm aten::matmul aten::mv aten::linear mkldnn::_linear_pointwise aten::einsum "
        "hwlottery::product MatMul _MklMatMul _FusedMatMul BatchMatMulV2 Einsum dot_general.3 sgemm_128x64_nn "
        "ampere_sgemm_32x128_tn cutlass_80_tensorop_s1688gemm cpp_packed_gemm_0 triton_tem_fused_mm_0 __onednn$matmul"
    ),
    "convolution": (
        "aten::convolution aten::mkldnn_convolution aten::convolution_backward Conv2D _MklNativeConv2DBackpropFilter "
        "_FusedConv2D conv_general_dilated.2 convolution.4 implicit_convolve_sgemm cudnn_infer_ampere_scudnn_winograd "
        "sm80_xmma_fprop_implicit_gemm DepthwiseConv2dNative"
    ),
    "gather/scatter": (
        "aten::index_select aten::gather aten::index aten::index_add_ aten::scatter_add aten::embedding_bag "
        "aten::_embedding_bag GatherV2 ResourceGather UnsortedSegmentSum SegmentSumV2 TensorScatterUpdate "
        "SparseSegmentSum dynamic-update-slice.4 indexSelectLargeIndex cpp_fused_add_index_select_sum_0"
    ),
    "reduction": (
        "aten::sum aten::mean aten::max aten::softmax aten::_log_softmax aten::max_pool2d_with_indices aten::argmax "
        "Sum Mean Softmax _MklNativeMaxPool BiasAddGrad reduce_kernel triton_red_fused_add_sum_0 ArgMax L2Loss "
        "wrapped_reduce-window cpp_fused_add_mul_sum_view_1"
    ),
    "elementwise": (
        "aten::add aten::mul_ aten::relu aten::threshold_backward aten::where aten::exp aten::fill_ aten::zeros "
        "AddV2 RealDiv Relu ReluGrad Sub Exp Cast SelectV2 GreaterEqual vectorized_elementwise_kernel "
        "triton_poi_fused_add_relu_0 triton_poi_fused_convolution_relu_1 wrapped_exponential cpp_fused_relu_7"
    ),
    "layout": (
        "aten::copy_ aten::clone aten::t aten::transpose aten::permute aten::reshape aten::select aten::cat Transpose "
        "_MklTranspose Reshape ConcatV2 Pad Pack StridedSlice ExpandDims transpose.3 copy copy_bitcast "
        "CatArrayBatchedCopy nchwToNhwcKernel cpp_fused_clone_convolution_permute_0"
    ),
    "sparse": (
        "aten::_sparse_addmm aten::_sparse_mm aten::sparse_sampled_addmm SparseTensorDenseMatMul "
        "SparseMatrixSparseMatMul CSRSparseMatrixComponents bcsr_dot_general.1 coo_spmm csrmm_kernel "
        "sparse_sampled_addmm_kernel"
    ),
    "other": "aten::sort TopKV2 aten::topk Mystery aten::frobnicate void_kernel",
}
PAIRS = [(name, kind) for kind, names in NAMES.items() for name in names.split()]


@pytest.mark.parametrize(("name", "kind"), PAIRS, ids=[name for name, _ in PAIRS])
def test_a_name_tells_the_class(name, kind):
    assert class_of_name(name) == kind


def test_a_name_says_more_than_what_a_kernel_is_a_template_of():
    add = "void at::native::vectorized_elementwise_kernel<4, at::native::FillFunctor<float>>(int, float)"
    assert plain_kernel(add) == "at::native::vectorized_elementwise_kernel"
    assert class_of_name(add) == "elementwise"
    assert class_of_name("void kernel_of<(anonymous namespace)::softmax_warp>(float*)") == "reduction"
    assert class_of_name("void kernel_of<Mystery>(float*)") == "other"


@pytest.mark.parametrize(
    ("opcodes", "kind"),
    [
        ({"fusion", "dot", "gather", "add", "reduce"}, "matmul"),
        ({"convolution", "add"}, "convolution"),
        ({"fusion", "gather", "reduce", "multiply"}, "gather/scatter"),
        ({"dynamic-update-slice", "bitcast"}, "gather/scatter"),
        ({"reduce", "add", "multiply"}, "reduction"),
        ({"fusion", "multiply", "broadcast"}, "elementwise"),
        ({"fusion", "transpose", "copy", "parameter"}, "layout"),
        ({"custom-call __onednn$matmul"}, "matmul"),
        ({"custom-call cusparse_csr_spmm"}, "sparse"),
        ({"custom-call mystery"}, "other"),
        ({"sort", "compare"}, "other"),
    ],
)
def test_opcodes_tell_the_class(opcodes, kind):
    assert class_of_opcodes(opcodes) == kind


def test_loops_and_branches_only_start_others():
    assert starts_others({"while", "add"})
    assert starts_others({"conditional"})
    assert not starts_others({"fusion", "add"})


def test_every_class_is_one_of_the_list():
    assert {kind for _, kind in PAIRS} | {"launch/idle"} == set(CLASSES)
