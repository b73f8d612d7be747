import Glibc
import Primitives

/// A program of the machine that a command runs in its place: with this terminal, until it ends.
struct ChildProgram: Sendable {
    let name: String
    /// The Debian package that has it, and what for, for the message when it is missing.
    let package: String
    let purpose: String

    /// Stands in the arguments for a file that is made for this run.
    static let filePlace = "\u{1}FILE"

    /// Runs it and returns its exit code, 128 and the signal's number where one ended it, as shells do. Ctrl-C goes to
    /// the program, which shares the terminal; this process waits for what it makes of it.
    ///
    /// - Parameter file: a private file with this text is there while it runs.
    func run(_ arguments: [String], file: String? = nil) throws -> Int32 {
        var path: String?
        if let file { path = try Self.temporary(file) }
        defer { if let path { unlink(path) } }
        let words = arguments.map { $0 == Self.filePlace ? path ?? "" : $0 }
        let child = try spawn(words)
        // Its terminal's signals are its own to answer: who dies here would leave it without its file.
        let former = [SIGINT, SIGQUIT].map { ($0, signal($0, SIG_IGN)) }
        defer { for (number, handler) in former { signal(number, handler) } }
        // Nothing else runs in this process meanwhile, so the thread may wait.
        var status: Int32 = 0
        while waitpid(child, &status, 0) < 0, errno == EINTR {}
        return status & 0x7F == 0 ? status >> 8 & 0xFF : 128 + (status & 0x7F)
    }

    private static func temporary(_ text: String) throws -> String {
        var template = Array("/tmp/bramble-hosts-XXXXXX".utf8CString)
        let descriptor = mkstemp(&template)
        guard descriptor >= 0 else { throw Self.failed("make a file in /tmp", errno) }
        defer { close(descriptor) }
        _ = fcntl(descriptor, F_SETFD, FD_CLOEXEC)
        let path = String(decoding: template.dropLast().map { UInt8(bitPattern: $0) }, as: UTF8.self)
        let bytes = Array(text.utf8)
        guard write(descriptor, bytes, bytes.count) == bytes.count else {
            let code = errno
            unlink(path)
            throw Self.failed("write \(path)", code)
        }
        return path
    }

    private func spawn(_ arguments: [String]) throws -> pid_t {
        var attributes = posix_spawnattr_t()
        posix_spawnattr_init(&attributes)
        defer { posix_spawnattr_destroy(&attributes) }
        // The threads of Swift's executors block signals, and this process ignores some: a child would begin with that.
        var none = sigset_t()
        sigemptyset(&none)
        posix_spawnattr_setsigmask(&attributes, &none)
        var usual = sigset_t()
        sigemptyset(&usual)
        for number in [SIGINT, SIGQUIT, SIGPIPE] { sigaddset(&usual, number) }
        posix_spawnattr_setsigdefault(&attributes, &usual)
        posix_spawnattr_setflags(&attributes, Int16(POSIX_SPAWN_SETSIGMASK | POSIX_SPAWN_SETSIGDEF))
        let words = ([name] + arguments).map { strdup($0) } + [nil]
        defer { words.forEach { free($0) } }
        var child = pid_t()
        let code = posix_spawnp(&child, name, nil, &attributes, words, environ)
        guard code == 0 else {
            guard code == ENOENT else { throw Self.failed("start \(name)", code) }
            throw CommandFailure(
                problem: "\(name) is not installed; \(purpose)", remedy: "apt install \(package)")
        }
        return child
    }

    private static func failed(_ what: String, _ code: Int32) -> CommandFailure {
        CommandFailure(
            problem: "cannot \(what): \(String(cString: strerror(code)))", remedy: "mend that and try again")
    }
}
