print("bramble")
