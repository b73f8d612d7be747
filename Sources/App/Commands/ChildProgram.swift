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
        try Self.spawn(name, [name] + arguments) { code in
            guard code == ENOENT else { return Self.failed("start \(name)", code) }
            return CommandFailure(problem: "\(name) is not installed; \(purpose)", remedy: "apt install \(package)")
        }
    }

    /// - Parameter handing: a descriptor that the child has under another number.
    private static func spawn(
        _ program: String, _ arguments: [String], handing: (descriptor: Int32, as: Int32)? = nil,
        failure: (Int32) -> CommandFailure
    ) throws -> pid_t {
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
        var actions = posix_spawn_file_actions_t()
        posix_spawn_file_actions_init(&actions)
        defer { posix_spawn_file_actions_destroy(&actions) }
        if let handing {
            // The same number would keep its close-on-exec.
            posix_spawn_file_actions_adddup2(&actions, handing.descriptor, handing.as)
        }
        let words = arguments.map { strdup($0) } + [nil]
        defer { words.forEach { free($0) } }
        var child = pid_t()
        let code = posix_spawnp(&child, program, &actions, &attributes, words, environ)
        guard code == 0 else { throw failure(code) }
        return child
    }

    // MARK: Another process of this program

    /// One that runs beside this process.
    actor Running {
        let process: pid_t
        private(set) var status: Int32?
        private var waiting: [CheckedContinuation<Void, Never>] = []

        fileprivate init(_ process: pid_t) { self.process = process }

        fileprivate func ended(_ status: Int32) {
            self.status = status
            waiting.forEach { $0.resume() }
            waiting = []
        }
        func waitForEnd() async {
            guard status == nil else { return }
            await withCheckedContinuation { waiting.append($0) }
        }
        /// As shells count: 128 and the signal's number where one ended it.
        var code: Int32 { status.map { $0 & 0x7F == 0 ? $0 >> 8 & 0xFF : 128 + ($0 & 0x7F) } ?? 1 }
        var wasKilled: Bool { status.map { $0 & 0x7F != 0 } ?? false }
    }

    /// Starts this program again, with other words and a descriptor. What is sent to this process from now on, besides what
    /// a terminal sends to both, is passed on.
    static func startSelf(_ words: [String], descriptor: Int32, as number: Int32) throws -> Running {
        let source = descriptor == number ? dup(descriptor) : descriptor
        defer { if source != descriptor { close(source) } }
        let process = try spawn("/proc/self/exe", ["bramble"] + words, handing: (source, number)) {
            failed("start /proc/self/exe", $0)
        }
        for one in [SIGINT, SIGQUIT] { signal(one, SIG_IGN) }
        passedOnTo = process
        for one in [SIGTERM, SIGHUP] { signal(one) { kill(passedOnTo, $0) } }
        let running = Running(process)
        Task.detached {
            var status: Int32 = 0
            while waitpid(process, &status, 0) < 0, errno == EINTR {}
            await running.ended(status)
        }
        return running
    }

    /// Ends what a keeper that was killed has left, by its mark.
    static func end(_ mark: String) {
        guard
            let process = try? spawn(
                "/proc/self/exe", ["bramble", "lock-run", "--kill", mark], failure: { failed("start", $0) })
        else { return }
        var status: Int32 = 0
        while waitpid(process, &status, 0) < 0, errno == EINTR {}
    }

    private static func failed(_ what: String, _ code: Int32) -> CommandFailure {
        CommandFailure(
            problem: "cannot \(what): \(String(cString: strerror(code)))", remedy: "mend that and try again")
    }
}

/// Set once, before the handlers that read it.
nonisolated(unsafe) private var passedOnTo: pid_t = 0
