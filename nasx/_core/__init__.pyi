from nasx._core import budget as budget
from nasx._core import evolution as evolution
from nasx._core import gaussian_process as gaussian_process
from nasx._core import latency_table as latency_table
from nasx._core import mixed_op as mixed_op
from nasx._core import neat as neat
from nasx._core import outcomes as outcomes
from nasx._core import pareto as pareto
from nasx._core import parzen as parzen
from nasx._core import policy as policy
from nasx._core import population as population
from nasx._core import runtime as runtime

__version__: str
