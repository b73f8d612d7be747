// A node's takeover of addresses as a process of its own, so that tests can freeze and kill it; and the client who
// notices. Prints a line for everything that happens.

runTool(Array(CommandLine.arguments.dropFirst()))
