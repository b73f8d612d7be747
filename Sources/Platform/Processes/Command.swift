import CLinux
import Glibc
import Primitives
import Reactor

/// A program to run, and all it gets: nothing of the daemon's own environment, descriptors or signal settings reaches it.
package struct Command: Equatable, Sendable {
    /// Absolute: a service is never looked for along somebody's PATH.
    package var path: String
    package var arguments: [String]
    package var environment: [String: String]
    package var directory: String

    package init(
        _ path: String, _ arguments: [String] = [], environment: [String: String] = [:], directory: String = "/"
    ) {
        self.path = path
        self.arguments = arguments
        self.environment = environment
        self.directory = directory
    }

    /// Where programs of a service find theirs.
    package static let searchPath = "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin"

    /// As an operator would type it, for messages.
    package var line: String { ([path] + arguments).joined(separator: " ") }
}

/// Why a program could not be started.
package struct SpawnFailure: OperatorError, Equatable {
    package let path: String
    package let code: Int32
    package let stage: Int32

    /// It cannot be executed here: not there, or not executable. Trying again does not help.
    package var isMissing: Bool {
        stage == CLINUX_STAGE_EXEC && [ENOENT, EACCES, ENOEXEC, ENOTDIR, ELOOP].contains(code)
    }

    package var problem: String {
        let text = String(cString: strerror(code))
        return switch stage {
        case CLINUX_STAGE_CGROUP: "\(path) was not started: its control group does not take it (\(text))"
        case CLINUX_STAGE_EXEC where code == ENOENT:
            "\(path) is not there, or the interpreter that its first line names"
        case CLINUX_STAGE_EXEC where code == EACCES: "\(path) is not executable"
        case CLINUX_STAGE_EXEC where code == ENOEXEC:
            "\(path) is no program: a script needs #!/bin/sh as its first line"
        default: "\(path) cannot be started: \(text)"
        }
    }
    package var remedy: String {
        switch (stage, code) {
        case (CLINUX_STAGE_EXEC, ENOENT): "install what it belongs to, or correct `run:`"
        case (CLINUX_STAGE_EXEC, EACCES): "chmod +x \(path)"
        case (_, EMFILE), (_, ENFILE): "too many files are open: raise LimitNOFILE= of the service, or fs.file-max"
        case (_, EAGAIN), (_, ENOMEM): "the machine is out of processes or memory: look at `systemd-cgtop`"
        default: "start it by hand to see more: \(path)"
        }
    }
}

/// A process of ours that runs, or has ended and waits to be asked how. Its number stays its own until it is reaped.
package struct Child: Sendable {
    package let process: Int32
    /// Readable when it has ended.
    package let handle: Int32

    /// What a child has as descriptors 0, 1, 2, …
    package static func spawn(
        _ command: Command, descriptors: [Int32], controlGroup: Int32 = -1
    ) throws(SpawnFailure) -> Child {
        func refused(_ code: Int32) -> SpawnFailure {
            SpawnFailure(path: command.path, code: code, stage: CLINUX_STAGE_SETUP)
        }
        let words = [command.path] + command.arguments
        let variables = command.environment.sorted { $0.key < $1.key }.map { "\($0.key)=\($0.value)" }
        // C would cut it off there, and run something else than what was asked for.
        guard !(words + variables + [command.directory]).contains(where: { $0.utf8.contains(0) }),
            descriptors.count <= 5
        else { throw refused(EINVAL) }
        let arguments = CStrings(words)
        let environment = CStrings(variables)
        let directory = CStrings([command.directory])
        var request = clinux_spawn_request()
        request.path = UnsafePointer(arguments.pointers[0])
        request.arguments = UnsafePointer(arguments.pointers)
        request.environment = UnsafePointer(environment.pointers)
        request.directory = UnsafePointer(directory.pointers[0])
        withUnsafeMutableBytes(of: &request.descriptors) { place in
            place.withMemoryRebound(to: Int32.self) { for (index, one) in descriptors.enumerated() { $0[index] = one } }
        }
        request.descriptor_count = Int32(descriptors.count)
        request.cgroup_procs = controlGroup
        var process = pid_t()
        var handle: Int32 = -1
        var stage: Int32 = 0
        let code = clinux_spawn(&request, &process, &handle, &stage)
        withExtendedLifetime((arguments, environment, directory)) {}
        guard code == 0 else { throw SpawnFailure(path: command.path, code: code, stage: stage) }
        return Child(process: process, handle: handle)
    }

    /// Nil while it runs.
    package func reap() -> ProcessEnd? {
        var code: Int32 = 0
        var signal: Int32 = 0
        switch clinux_reap(handle, &code, &signal) {
        case 0: return nil
        case 1: return signal == 0 ? .exited(code) : .signalled(signal)
        default: return errno == EINTR ? nil : .exited(-1)
        }
    }
}

package enum ProcessEnd: Equatable, Sendable, CustomStringConvertible {
    case exited(Int32)
    case signalled(Int32)

    package var description: String {
        switch self {
        case .exited(let code): "exit code \(code)"
        case .signalled(SIGKILL): "it was killed (SIGKILL)"
        case .signalled(let number): "ended by signal \(number) (\(String(cString: strsignal(number))))"
        }
    }
}

/// Strings as C wants them: an array of pointers with a null at its end.
private final class CStrings {
    let pointers: UnsafeMutablePointer<UnsafeMutablePointer<CChar>?>
    private let count: Int
    init(_ texts: [String]) {
        count = texts.count
        pointers = .allocate(capacity: count + 1)
        for (index, text) in texts.enumerated() { (pointers + index).initialize(to: strdup(text)) }
        (pointers + count).initialize(to: nil)
    }
    deinit {
        for index in 0..<count { free(pointers[index]) }
        pointers.deallocate()
    }
}
