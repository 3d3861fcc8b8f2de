"Our times and the peers' on the same data: `python -m benchmarks NAME`."
