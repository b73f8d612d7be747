import CLinux
import Glibc
import Reactor
import Testing

@testable import Machine

/// A directory that goes away with the test.
final class TemporaryDirectory {
    let path: String
    init() {
        var template = Array("/tmp/bramble-test-XXXXXX\0".utf8CString)
        path = String(cString: mkdtemp(&template)!)
    }
    deinit { TemporaryDirectory.remove(path) }

    static func remove(_ path: String) {
        for name in names(in: path) where unlink("\(path)/\(name)") != 0 { remove("\(path)/\(name)") }
        rmdir(path)
    }

    func file(_ name: String) -> String { "\(path)/\(name)" }
    func write(_ text: String, to name: String, mode: mode_t = 0o644) throws {
        let (directory, _) = AtomicFile.split(file(name))
        if directory != path { makeAll(directory) }
        try AtomicFile.write(Array(text.utf8), to: file(name), mode: mode)
    }
    func text(_ name: String) -> String? {
        (try? AtomicFile.read(file(name), limit: 1 << 24)).map { String(decoding: $0, as: UTF8.self) }
    }
    private func makeAll(_ path: String) {
        if mkdir(path, 0o755) == 0 || errno == EEXIST { return }
        makeAll(AtomicFile.split(path).directory)
        mkdir(path, 0o755)
    }
}

func names(in path: String) -> [String] {
    guard let directory = opendir(path) else { return [] }
    defer { closedir(directory) }
    var result: [String] = []
    while let entry = readdir(directory) {
        let name = withUnsafePointer(to: &entry.pointee.d_name) {
            $0.withMemoryRebound(to: CChar.self, capacity: 256) { String(cString: $0) }
        }
        if name != ".", name != ".." { result.append(name) }
    }
    return result.sorted()
}

func mode(of path: String) -> mode_t {
    var status = stat()
    return stat(path, &status) == 0 ? status.st_mode & 0o7777 : 0
}

let isRoot = geteuid() == 0

/// A thread in network and mount namespaces of its own: what runs there sees its own interfaces and mounts, and all of it
/// is gone when the thread ends.
final class OwnNamespace: Sendable {
    let loop: EventLoop
    init(network: Bool = false) throws {
        loop = EventLoop(name: "namespace")
        try run {
            let flags = CLINUX_NEWNS | (network ? CLINUX_NEWNET : 0)
            guard clinux_unshare(Int32(flags)) == 0 else { throw SystemError() }
        }
    }
    deinit { loop.stop() }

    func run<Value: Sendable>(_ body: @escaping @Sendable () throws -> Value) throws -> Value {
        let result = Locked<Result<Value, any Error>?>(nil)
        loop.perform {
            let outcome = Result { try body() }
            result.withLock { $0 = outcome }
        }
        while true {
            if let outcome = result.withLock({ $0 }) { return try outcome.get() }
            usleep(500)
        }
    }

    /// Runs a shell line in the namespaces; throws with its output when it fails.
    @discardableResult
    func shell(_ line: String) throws -> String { try run { try Shell.run(line) } }

    var threadID: Int32 { (try? run { clinux_thread_id() }) ?? 0 }
}

enum Shell {
    struct Failure: Error { let line: String, output: String }

    @discardableResult
    static func run(_ line: String) throws -> String {
        guard let pipe = popen("{ \(line); } 2>&1", "re") else { throw SystemError() }
        var output: [UInt8] = []
        var byte = fgetc(pipe)
        while byte != EOF {
            output.append(UInt8(byte))
            byte = fgetc(pipe)
        }
        let text = String(decoding: output, as: UTF8.self)
        guard pclose(pipe) == 0 else { throw Failure(line: line, output: text) }
        return text
    }
}
