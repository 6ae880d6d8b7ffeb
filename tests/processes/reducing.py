"""What test_heartbeat.py starts: processes that reduce in a loop. FOLDER TIMEOUT; PTK_FAULT breaks one of them."""

import os
import sys
import time
from pathlib import Path

import torch
from torch import distributed

from ptk import faults
from ptk.processes import launch
from ptk.processes.heartbeat import WAITING, Heartbeat

launch.join()
number, index = launch.processes(), int(os.environ.get("RANK", "0"))
if number > 1:
    distributed.init_process_group("gloo")
with Heartbeat(Path(sys.argv[1]), index, number, float(sys.argv[2])) as beat:
    for step in range(1, 15):
        beat.at(step, "reading")
        faults.at("begin", step)
        time.sleep(0.3)
        beat.at(step, WAITING)
        if number > 1:
            distributed.all_reduce(torch.ones(1))
