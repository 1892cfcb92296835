"""cocotb benches, stream and memory drivers, the simulator runner."""
