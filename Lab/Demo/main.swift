import Glibc
import Lab

let usage = "usage: bramble-demo PROGRAM [--listen ADDRESS[:PORT]]"
// How the demonstration's own service is started, by Bramble.
if CommandLine.arguments.count == 4, CommandLine.arguments[1] == "serve", let port = UInt16(CommandLine.arguments[3]) {
    exit(Page.serve(CommandLine.arguments[2], port: port))
}
var arguments = CommandLine.arguments.dropFirst().makeIterator()
var program: String?
var (address, port): (String, UInt16) = ("127.0.0.1", 8080)
while let argument = arguments.next() {
    switch argument {
    case "--help", "-h":
        print(usage)
        exit(0)
    case "--listen":
        let parts = (arguments.next() ?? "").split(separator: ":")
        guard let first = parts.first, let number = parts.count > 1 ? UInt16(parts[1]) : 8080 else {
            complain("bramble-demo: --listen takes an address, such as 0.0.0.0:8080")
            exit(2)
        }
        (address, port) = (String(first), number)
    default:
        guard !argument.hasPrefix("-"), program == nil else {
            complain("bramble-demo: unknown option \(argument)\n\(usage)")
            exit(2)
        }
        program = argument
    }
}
exit(present(program.map { realPath($0) } ?? BrambleNode.builtHere, address: address, port: port))

func present(_ program: String, address: String, port: UInt16) -> Int32 {
    let terminal = Terminal()
    terminal.say()
    terminal.say("  \(terminal.strong("Bramble")): a few small machines become one dependable cluster")
    terminal.say(
        "  \(terminal.dim("The machines here are made of namespaces. Nothing outside is changed; all is gone at the end."))"
    )
    terminal.say()
    do {
        let demonstration = try Demonstration(program: program, terminal: terminal)
        defer { demonstration.close() }
        let succeeded = try demonstration.run(listen: address, port: port)
        if terminal.isInteractive { try demonstration.play() }
        return succeeded ? 0 : 1
    } catch {
        terminal.fail("\(error)")
        return 1
    }
}

func complain(_ text: String) {
    let bytes = Array((text + "\n").utf8)
    _ = write(2, bytes, bytes.count)
}

/// The program is started from other directories.
func realPath(_ path: String) -> String {
    guard let absolute = realpath(path, nil) else { return path }
    defer { free(absolute) }
    return String(cString: absolute)
}
