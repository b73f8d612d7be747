// Closures that C calls must not be written here: they would belong to the main actor. So this only calls.
Stage.main()
