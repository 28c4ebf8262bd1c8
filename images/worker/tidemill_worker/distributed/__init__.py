"""Training on several pods: every pod launches processes, which train as one group and of which one speaks.

`pod` what the environment says, `launch` the pod's first process, `agent` how it watches the others, `outcome` what they tell
it, `group` how they train together. Only `launch`, `agent` and `group` import torch.
"""
