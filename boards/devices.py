"""The devices of the boards, as the open tools know them."""

from penstock.boards.ecp5 import Ecp5
from penstock.boards.family import Device
from penstock.boards.gowin import Gowin
from penstock.boards.ice40 import Ice40

LFE5U_25F = Device(
    name="LFE5U-25F-6BG381C",
    family=Ecp5(),
    nextpnr=("--25k", "--package", "CABGA381", "--speed", "6"),
    lut=24288,
    ff=24288,
    dsp=28,
    bram=56,
    width=73,
    height=51,
)
LFE5U_85F = Device(
    name="LFE5U-85F-6BG381C",
    family=Ecp5(),
    nextpnr=("--85k", "--package", "CABGA381", "--speed", "6"),
    lut=83640,
    ff=83640,
    dsp=156,
    bram=208,
    width=127,
    height=96,
)
ICE40UP5K = Device(
    name="iCE40UP5K-SG48",
    family=Ice40(),
    nextpnr=("--up5k", "--package", "sg48"),
    lut=5280,
    ff=5280,
    dsp=8,
    bram=30,
    width=26,
    height=32,
)
GW1NR_9 = Device(
    name="GW1NR-LV9QN88PC6/I5",
    family=Gowin("GW1N-9C"),
    nextpnr=("GW1NR-LV9QN88PC6/I5",),
    lut=8640,
    ff=6480,
    dsp=40,
    bram=26,
    width=47,
    height=29,
)
