import sys; sys.path[:0]=['.','tests/stats']
import numpy as np
from test_changes import _table
N=int(sys.argv[1])
for runs,rounds,luck in ((1,3,.01),(1,5,.01),(1,10,.005),(1,10,.01),(3,5,.01),(3,10,.005),(3,10,.01),(4,10,.01),(8,10,.02)):
    rng=np.random.default_rng(5)
    wrong=sum(any(map(any,_table(rng,rounds=rounds,runs=runs,luck=luck)[0])) for _ in range(N))/N
    t=[_table(rng,rounds=rounds,runs=runs,luck=luck,planted=.05) for _ in range(N)]
    hit=sum(c[0][0] for c,_ in t)/N; either=sum(c[0][0] or c[1][0] for c,_ in t)/N
    least=np.median([f[0].detectable for _,f in t])
    print(f'| {runs} × {rounds} | {luck:.1%} | {wrong:.1%} | {hit:.0%} | either {either:.0%} | {least:.1%} |',flush=True)
