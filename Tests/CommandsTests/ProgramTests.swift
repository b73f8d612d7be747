import FoundationEssentials
import Glibc
import TestSupport
import Testing

/// Runs a program of the machine with a file, and returns what it says on both outputs.
func run(
    _ program: String, _ arguments: [String], file contents: String
) async throws -> (output: String, code: Int32) {
    try await blocking { try runAndWait(program, arguments, file: contents) }
}

private func runAndWait(
    _ program: String, _ arguments: [String], file contents: String
) throws -> (output: String, code: Int32) {
    var template = Array("/tmp/bramble-test-XXXXXX".utf8CString)
    let directory = String(cString: mkdtemp(&template))
    // Some shells leave files in the home directory, which is here.
    defer { try? FileManager.default.removeItem(atPath: directory) }
    try Data(contents.utf8).write(to: URL(filePath: directory + "/file"))
    var actions = posix_spawn_file_actions_t()
    posix_spawn_file_actions_init(&actions)
    posix_spawn_file_actions_addopen(&actions, 0, "/dev/null", O_RDONLY, 0)
    posix_spawn_file_actions_addopen(&actions, 1, directory + "/out", O_CREAT | O_WRONLY | O_APPEND, 0o600)
    posix_spawn_file_actions_adddup2(&actions, 1, 2)
    defer { posix_spawn_file_actions_destroy(&actions) }
    // The threads of Swift's executors block signals, and another test may just have this process ignore some, as
    // `ChildProgram` does: a child would begin with both, and no Ctrl-C would ever end it.
    var attributes = posix_spawnattr_t()
    posix_spawnattr_init(&attributes)
    defer { posix_spawnattr_destroy(&attributes) }
    var none = sigset_t()
    sigemptyset(&none)
    posix_spawnattr_setsigmask(&attributes, &none)
    var all = sigset_t()
    sigfillset(&all)
    posix_spawnattr_setsigdefault(&attributes, &all)
    posix_spawnattr_setflags(&attributes, Int16(POSIX_SPAWN_SETSIGMASK | POSIX_SPAWN_SETSIGDEF))
    func copies(_ texts: [String]) -> [UnsafeMutablePointer<CChar>?] { texts.map { strdup($0) } + [nil] }
    let words = copies([program] + arguments.map { $0.replacing("FILE", with: directory + "/file") })
    let settings = copies(["PATH=/usr/bin:/bin", "HOME=\(directory)", "LC_ALL=C.UTF-8"])
    defer { (words + settings).forEach { free($0) } }
    var child = pid_t()
    let code = posix_spawnp(&child, program, &actions, &attributes, words, settings)
    let reason = String(cString: strerror(code))
    try #require(code == 0, "\(program) does not start: \(reason)")
    var status: Int32 = 0
    while waitpid(child, &status, 0) < 0, errno == EINTR {}
    let output = String(decoding: try Data(contentsOf: URL(filePath: directory + "/out")), as: UTF8.self)
    return (output, status & 0x7F == 0 ? status >> 8 & 0xFF : -(status & 0x7F))
}

@Suite("other programs accept what is made from the command tree")
struct ProgramTests {
    @Test("the manual page has nothing that mandoc would change")
    func manual() async throws {
        let page = await Shell().run(["man"]).out
        let (complaints, code) = try await run("mandoc", ["-T", "lint", "-W", "all", "FILE"], file: page)
        #expect(complaints == "" && code == 0)
    }

    @Test("the manual page tells every command and every option")
    func manualIsWhole() async throws {
        let page = await Shell().run(["man"]).out
        let (text, _) = try await run("mandoc", ["-T", "ascii", "FILE"], file: page)
        let plain = text.replacing(/.\u{8}/, with: "")
        for word in [
            "node remove", "peer probe", "--hosts-file", "--follow", "-y, --yes", "BRAMBLE_TOKEN", "EXIT STATUS",
        ] {
            #expect(plain.contains(word), "\(word)")
        }
    }

    @Test("each shell can read its completion script", arguments: ["bash", "zsh", "fish"])
    func syntax(shell: String) async throws {
        let script = await Shell().run(["completion", shell]).out
        #expect(script.contains("node waiting --names"))
        let (complaints, code) = try await run(shell, ["-n", "FILE"], file: script)
        #expect(complaints == "" && code == 0)
    }

    /// A line as typed so far, its last word perhaps empty, and what the shell must offer.
    static let lines: [(words: [String], offers: [String])] = [
        (["no"], ["nodes", "node"]),
        (["node", ""], ["waiting", "add", "remove", "label", "hold", "resume", "drain", "--help"]),
        (["nodes", "--sta"], ["--state"]),
        (["nodes", "--state", "su"], ["suspect"]),
        (["nodes", "--state", "=", "a"], ["alive"]),
        (["why", "ser"], ["serv1", "serv2"]),
        (["--socket", "/tmp/x", "node", "remove", "--yes", "serv2"], ["serv2"]),
        (["node", "add", "w"], ["waiter"]),
        (["why", "serv1", "s"], []),
        (["nodes", "--api", ""], []),
        (["completion", ""], ["bash", "zsh", "fish"]),
        (["help", "pee"], ["peer"]),
        (["start", "--hosts-file", "/etc/hostn"], ["/etc/hostname"]),
    ]

    @Test("bash offers what fits", arguments: lines)
    func bash(words: [String], offers: [String]) async throws {
        let script = await Shell().run(["completion", "bash"]).out
        let typed = (["bramble"] + words).map { "'\($0)'" }.joined(separator: " ")
        let (output, code) = try await run(
            "bash", ["FILE"],
            file: """
                bramble() { if [[ $1 == nodes ]]; then echo serv1; echo serv2; else echo waiter; fi; }
                \(script)
                COMP_WORDS=(\(typed)) COMP_CWORD=\(words.count)
                _bramble
                for word in "${COMPREPLY[@]}"; do echo "$word"; done
                """)
        #expect(code == 0)
        #expect(Set(output.split(separator: "\n").map { String($0) }) == Set(offers))
    }

    @Test("fish offers what fits", arguments: lines.filter { !$0.words.contains("=") && $0.offers.first?.first != "/" })
    func fish(words: [String], offers: [String]) async throws {
        let script = await Shell().run(["completion", "fish"]).out
        let typed = (["bramble"] + words).joined(separator: " ")
        let (output, code) = try await run(
            "fish", ["--no-config", "FILE"],
            file: """
                function bramble; if test $argv[1] = nodes; echo serv1; echo serv2; else; echo waiter; end; end
                \(script)
                complete -C '\(typed)'
                """)
        #expect(code == 0)
        // Each line is the word, and after a tab what it means. fish offers options only after a dash.
        let words = output.split(separator: "\n").map { String($0.prefix { $0 != "\t" }) }
        #expect(Set(words) == Set(offers.filter { !$0.hasPrefix("-") || typed.contains(" --sta") }))
    }

    @Test("zsh loads its script beside its own completion system")
    func zsh() async throws {
        let script = await Shell().run(["completion", "zsh"]).out
        let (output, code) = try await run(
            "zsh", ["-f", "FILE"],
            file:
                "autoload -U compinit; compinit -D -u\n\(script)\necho $_comps[bramble]; whence -w _bramble_node_add\n")
        #expect(code == 0)
        #expect(output == "_bramble\n_bramble_node_add: function\n")
    }
}
