print("bramble-sim")
