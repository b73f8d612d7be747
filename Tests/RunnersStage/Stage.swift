import Glibc
import Runners

enum Stage {
    static func main() -> Never {
        let arguments = Array(CommandLine.arguments.dropFirst())
        if arguments.first == "guard" { exit(GuardProcess.run(Array(arguments.dropFirst()))) }
        exit(2)
    }
}
