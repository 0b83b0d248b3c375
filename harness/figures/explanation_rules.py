"""Why cases fail, as data: a rule for each message that is known, with what to do and a script that shows it upstream.

A rule points to the registry that the framework keeps of its refusals where there is one (PyTorch's graph breaks, XLA's
error codes, JAX's errors, TensorFlow's registrations), and copies none. No rule takes what another would not.
"""

from __future__ import annotations

from harness.figures.idea_rules import IDEAS
from harness.figures.rule import Rule
from harness.figures.rule import rule as _rule

GRAPH_BREAK = "https://meta-pytorch.github.io/compile-graph-break-site/gb/"
JAX_ERRORS = "https://docs.jax.dev/en/latest/errors.html"
JAX_SPARSE = "https://docs.jax.dev/en/latest/jax.experimental.sparse.html"
TORCH_SPARSE = "https://docs.pytorch.org/docs/stable/sparse.html"
TORCHAX = "https://github.com/google/torchax"
TF_SPARSE = "https://www.tensorflow.org/guide/sparse_tensor"
TF_XLA = "https://www.tensorflow.org/xla/known_issues"
XLA_ERRORS = "https://openxla.org/xla/errors_overview"


_COMPILED_GRAPH = r"unsupported operations when trying to compile graph (?:\S+ )?on (?P<jit>\w+): "
_TF_CSR = "from tensorflow.python.ops.linalg.sparse import sparse_csr_matrix_ops as csr\n"


def _without_kernel(name: str, op: str, script: str) -> Rule:
    return _rule(
        name,
        _COMPILED_GRAPH + f"(?P<op>{op})" + r" \(No registered",
        "not_implemented",
        what="{op} in a function that XLA compiles",
        why="TensorFlow registers no kernel of {op} for {jit}",
        do="run it as a graph or eager, or take a formulation without sparse operations (gather_segment, ell)",
        link=TF_XLA,
        script="import tensorflow as tf\n" + script,
    )


PYTORCH = (
    _rule(
        "torch-compile-sparse-argument",
        r"^Attempted to wrap sparse Tensor\b",
        "not_implemented",
        what="a sparse tensor in a compiled function",
        why="torch.compile does not trace sparse tensors",
        do="run it eager, or take a formulation of dense operands (gather_segment, ell, masked_dense)",
        link=GRAPH_BREAK + "gb0015.html",
        script=(
            "import torch\n"
            "a = torch.eye(4).to_sparse_csr()\n"
            "torch.compile(lambda a, b: a @ b, fullgraph=True)(a, torch.ones(4, 2))\n"
        ),
    ),
    _rule(
        "torch-compile-sparse-creation",
        r"Sparse tensor creation not supported\b",
        "not_implemented",
        what="a sparse tensor made in a compiled function",
        why="torch.compile does not trace the functions that make sparse tensors",
        do="run it eager, or take a formulation of dense operands (gather_segment)",
        link=GRAPH_BREAK + "gb0374.html",
        script=(
            "import torch\n"
            "def dense(values, rows, columns):\n"
            "    return torch.sparse_csr_tensor(rows, columns, values, (2, 2)).to_dense()\n"
            "torch.compile(dense, fullgraph=True)(torch.ones(2), torch.tensor([0, 1, 2]), torch.tensor([0, 1]))\n"
        ),
    ),
    _rule(
        "torch-sampled-product-of-coo",
        r"Could not run 'aten::sparse_sampled_addmm' with arguments from the 'Sparse(?P<place>\w+)' backend",
        "not_implemented",
        what="torch.sparse.sampled_addmm of a COO matrix",
        why="PyTorch has the sampled product for CSR only",
        do="take csr, or a formulation that gathers the gradient (csr_gather, bag_gather)",
        link="https://docs.pytorch.org/docs/stable/generated/torch.sparse.sampled_addmm.html",
        script=(
            "import torch\n"
            "torch.sparse.sampled_addmm(torch.eye(4).to_sparse_coo(), torch.ones(4, 2), torch.ones(2, 4))\n"
        ),
    ),
    _rule(
        "torch-sampled-product-of-bsr",
        r"empty_sparse_compressed expected sparse compressed \(non-block\) tensor layout but got SparseBs[rc]",
        "not_implemented",
        what="torch.sparse.sampled_addmm of a block matrix",
        why="PyTorch has the sampled product for CSR only",
        do="take csr, or a batched product for each block (bsr_bmm)",
        link="https://docs.pytorch.org/docs/stable/generated/torch.sparse.sampled_addmm.html",
        script=(
            "import torch\n"
            "a = torch.eye(4).to_sparse_bsr((2, 2))\n"
            "torch.sparse.sampled_addmm(a, torch.ones(4, 2), torch.ones(2, 4))\n"
        ),
    ),
    _rule(
        "torch-product-of-bsc",
        r"addmm: computation on (?P<place>\w+) is not implemented for Strided \+ SparseBsc @ Strided",
        "not_implemented",
        what="a product with a block matrix stored by columns, which the derivative of a BSR product needs",
        why="PyTorch has the block product for BSR only, and differentiates it by the transpose, which is BSC",
        do="write the backward product with a BSR matrix of the transpose (bsr, bsr_bmm)",
        link=TORCH_SPARSE,
        script="import torch\ntorch.eye(4).to_sparse_bsc((2, 2)) @ torch.ones(4, 2)\n",
    ),
    _rule(
        "torch-packed-filters",
        r"^PyTorch lays filters out ahead by oneDNN only",
        "not_implemented",
        what="filters laid out ahead of a convolution",
        why="PyTorch lays them out by oneDNN, in float32 on the CPU",
        do="take the same formulation without _packed",
        link="https://docs.pytorch.org/docs/stable/generated/torch.nn.functional.conv2d.html",
    ),
    _rule(
        "torchax-operator",
        r"torchax does not trace this: OperatorNotFound: Operator with name (?P<op>\S+) has no lowering",
        "not_implemented",
        what="{op} through torchax",
        why="torchax translates PyTorch's operators to JAX one by one and has no translation of {op}",
        do="take a formulation without it, or JAX itself",
        link=TORCHAX,
    ),
    _rule(
        "torchax-reads-values",
        r"torchax does not trace this: TracerArrayConversionError\b",
        "not_implemented",
        what="values that are read while torchax traces",
        why="an operator of PyTorch looks at the values of an array, which has none while JAX traces",
        do="take a formulation of dense operands, or JAX itself",
        link=JAX_ERRORS + "#jax.errors.TracerArrayConversionError",
    ),
    _rule(
        "torchax-sparse-layout",
        r"torchax has no tensors of layout torch\.(?P<layout>sparse_\w+), only torch\.strided",
        "not_implemented",
        what="a tensor of layout {layout} through torchax",
        why="torchax has dense tensors only",
        do="take a formulation of dense operands (gather_segment, ell), or JAX's own sparse products",
        link=TORCHAX,
    ),
    _rule(
        "torch-graph-break",
        r"compile-graph-break-site/gb/(?P<gb>gb\d+)",
        "not_implemented",
        what="a construct that torch.compile does not trace",
        why="PyTorch's registry of graph breaks has it as {gb}",
        do="follow the hints of its page, or run it eager",
        link=GRAPH_BREAK + "{gb}.html",
    ),
)
JAX = (
    _rule(
        "jax-sparse-format",
        r"^jax\.experimental\.sparse has products for csr and coo, not for (?P<format>\w+)$",
        "not_implemented",
        what="the {format} format",
        why="jax.experimental.sparse has products of CSR and COO and none of {format}",
        do="take csr, coo, or for blocks a batched product (gather_bmm, ell_bmm)",
        link=JAX_SPARSE,
    ),
    _rule(
        "jax-csr-kernel",
        r"^JAX has no CSR kernel for (?P<dtype>\w+) on (?P<kind>\w+) and would run its COO product",
        "not_implemented",
        what="a CSR product of {dtype} on {kind}",
        why="JAX has a kernel for CSR on some platforms and dtypes; elsewhere its COO product runs without a word",
        do="take coo, which is what would run",
        link=JAX_SPARSE,
    ),
    _rule(
        "jax-csr-transposed",
        r"^JAX's CSR kernel does not multiply transposed and its COO product would run",
        "not_implemented",
        what="a product with the transpose of a CSR matrix",
        why="JAX's CSR kernel has no transposed form, and its COO product would run without a word",
        do="convert both the matrix and its transpose (csr, csr_gather)",
        link=JAX_SPARSE,
    ),
    _rule(
        "jax-tracer",
        r"^(?!torchax ).*\b(?P<error>Tracer(?:Array|Bool|Integer)ConversionError|ConcretizationTypeError"
        r"|NonConcreteBooleanIndexError|UnexpectedTracerError)\b",
        "not_implemented",
        what="a value that is read while JAX traces",
        why="JAX says {error}: what is traced has a shape and no values",
        do="follow JAX's page of this error: static arguments, jax.lax control flow, or eager",
        link=JAX_ERRORS + "#jax.errors.{error}",
    ),
    _rule(
        "xla-error-code",
        r"\b(?P<code>E\d{4}): ",
        "other",
        what="a program that XLA does not take",
        why="XLA's list of error codes has it as {code}",
        do="follow the list's advice for {code}",
        link=XLA_ERRORS,
    ),
)
TENSORFLOW = (
    _without_kernel(
        "tensorflow-csr-product-compiled",
        "SparseMatrixMatMul",
        _TF_CSR + "a = csr.CSRSparseMatrix(tf.eye(4))\n"
        "tf.function(lambda b: csr.matmul(a, b), jit_compile=True)(tf.ones((4, 2)))\n",
    ),
    _without_kernel(
        "tensorflow-coo-product-compiled",
        "SparseTensorDenseMatMul",
        "a = tf.sparse.from_dense(tf.eye(4))\n"
        "tf.function(lambda b: tf.sparse.sparse_dense_matmul(a, b), jit_compile=True)(tf.ones((4, 2)))\n",
    ),
    _without_kernel(
        "tensorflow-csr-conversion-compiled",
        "SparseTensorToCSRSparseMatrix",
        _TF_CSR + "at = tf.constant([[0, 0], [1, 1]], tf.int64)\n"
        "def product(values, b):\n"
        "    return csr.matmul(csr.CSRSparseMatrix(tf.SparseTensor(at, values, (2, 2))), b)\n"
        "tf.function(product, jit_compile=True)(tf.ones(2), tf.ones((2, 2)))\n",
    ),
    _rule(
        "tensorflow-pooling-gradient-nchw",
        r"Default MaxPoolingGradOp only supports NHWC on device type (?P<place>\w+)",
        "not_implemented",
        what="the gradient of a max-pool of channels-first images",
        why="TensorFlow's kernel on {place} knows channels-last images only",
        do="take nhwc, or compile it",
        link="https://www.tensorflow.org/api_docs/python/tf/nn/max_pool2d",
        script=(
            "import tensorflow as tf\n"
            "x, y, pool = tf.ones((1, 2, 4, 4)), tf.ones((1, 2, 2, 2)), [1, 1, 2, 2]\n"
            "tf.raw_ops.MaxPoolGrad(orig_input=x, orig_output=y, grad=y, ksize=pool, strides=pool, padding='VALID', "
            "data_format='NCHW')\n"
        ),
    ),
    _rule(
        "tensorflow-sparse-format",
        r"^TensorFlow is offered here with the sparse formats csr and coo, not (?P<format>\w+)$",
        "not_implemented",
        what="the {format} format",
        why="TensorFlow has SparseTensor (COO) and CSRSparseMatrix and no {format}",
        do="take csr, coo, or for blocks a batched product (gather_bmm, ell_bmm)",
        link=TF_SPARSE,
    ),
    _rule(
        "tensorflow-sampled-product",
        r"^TensorFlow has no sampled dense-dense product",
        "not_implemented",
        what="a product at the non-zeros of a matrix only",
        why="TensorFlow has no such operation",
        do="gather the rows of both operands instead (csr_gather, gather_segment)",
        link=TF_SPARSE,
    ),
    _rule(
        "tensorflow-sparse-vector",
        r"^TensorFlow's sparse products take a matrix, a vector only as one of a single column$",
        "not_implemented",
        what="a sparse matrix times a vector",
        why="TensorFlow's sparse products take a matrix on the right",
        do="take csr or coo: a matrix of one column is the same product",
        link=TF_SPARSE,
    ),
)
HARNESS = (
    _rule(
        "numpy-sparse-format",
        r"^SciPy is offered here with the formats csr and bsr, not (?P<format>\w+)$",
        "not_implemented",
        what="the {format} format",
        why="the NumPy backend has SciPy's CSR and BSR",
        do="take csr or bsr",
        link="https://docs.scipy.org/doc/scipy/reference/sparse.html",
    ),
    _rule(
        "filters-not-laid-out-ahead",
        r"^filters \(.*\) for images \(.*\), .* are not laid out ahead of a call here",
        "not_implemented",
        what="filters laid out ahead of a convolution",
        why="this framework lays filters out inside the call, or when it compiles",
        do="take the same formulation without _packed",
        link="https://uxlfoundation.github.io/oneDNN/dev_guide_inference_and_training_aspects.html",
    ),
    _rule(
        "no-such-execution",
        r"^(?P<formulation>\w+) has no execution (?P<execution>eager|graph|compiled)$",
        "not_implemented",
        what="{formulation} as {execution}",
        why="its author wrote it for other executions only; `hwlottery list formulations` has them",
        do="nothing: it is not meant to run so",
    ),
    _rule(
        "operation-not-written",
        r"^(?P<framework>.+) has no (?P<op>.+) here: write a formulation for this framework in its own words$",
        "not_implemented",
        what="{op}",
        why="the backend of {framework} does not have this operation of Ops",
        do="write it in the backend, or a formulation of the framework's own",
        link="https://data-apis.org/array-api/2024.12/API_specification/index.html",
    ),
    _rule(
        "model-without-a-rate",
        r"^no figure: (?P<device>.+) does not give (?P<key>[\w. =]+)",
        "not_implemented",
        what="a modelled time on {device}",
        why="the file of the device does not give {key}",
        do="give {key} in the device's file, measured by `hwlottery calibrate` or from a datasheet",
    ),
    _rule(
        "model-not-validated",
        r"^no figure: the class (?P<kind>[\w ]+) has not been held to measured times of (?P<framework>\w+)",
        "not_implemented",
        what="a modelled time of {kind} calls in {framework}",
        why="no measured case of that class was held to the model, so that nobody knows how far off it is",
        do="hold the model to a run that has such cases: `hwlottery whatif FILE --against DIR`",
    ),
    _rule(
        "work-not-counted",
        r"^(?:the formulation takes a branch by a value|its operands are larger than \d+ bytes)",
        "not_implemented",
        what="the executed work of a formulation",
        why="it depends on values, or its operands are too large to be made only for counting",
        do="nothing: the model has no figure for it; other formulations of the point may have one",
    ),
    _rule(
        "timeout",
        r"^not done after (?P<seconds>[\d.e+]+) s, while (?P<phase>[^;]+); --timeout sets the limit",
        "timeout",
        what="{phase}",
        why="it took more than the {seconds} s that a process has",
        do="give it longer by --timeout, or take a smaller preset",
    ),
    _rule(
        "out-of-memory",
        r"RESOURCE_EXHAUSTED|(?i:out of memory)|\bbad_alloc\b|(?i:can(?:no|')t allocate memory|unable to allocate)"
        r"|(?i:failed to allocate)",
        "memory",
        what="memory for this formulation's operands and temporaries",
        why="the device or the machine has less than it takes: a result in its own right",
        do="nothing where the idea needs it; else a smaller batch, or a formulation without the large temporary",
    ),
    _rule(
        "killed-by-a-signal",
        r"\bkilled by (?P<signal>SIG\w+|signal \d+) while (?P<phase>[^;]+)",
        "other",
        what="{phase}",
        why="the process was ended by {signal}",
        do="run the case by itself with --debug; a fault of the framework's own belongs to its makers",
        link="https://docs.python.org/3/library/faulthandler.html",
    ),
    _rule(
        "values-disagree",
        r"is off by [\d.e+-]+(?: of its largest value)?, [\d.e+-]+ allowed",
        "precision",
        what="the outputs",
        why="they differ from the float64 reference by more than the dtype's rounding explains",
        do="compare precision switches (TF32, fast math) and report it to the framework: a wrong result has no time",
        link="https://docs.pytorch.org/docs/stable/notes/numerical_accuracy.html",
    ),
)
RULES: tuple[Rule, ...] = (*PYTORCH, *JAX, *TENSORFLOW, *IDEAS, *HARNESS)
