import Glibc

// `main.swift` is on the main actor; everything else is not.
exit(SimulatorCommand.run(Array(CommandLine.arguments.dropFirst())))
