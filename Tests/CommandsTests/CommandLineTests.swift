import BrambleAPI
import Commands
import Primitives
import Testing

@Suite("a command line is understood, or told what is wrong with it")
struct CommandLineTests {
    private func tokens(_ line: String) -> [String] { line.split(separator: " ").map { String($0) } }

    /// Runs `bramble start` and catches what the daemon would be given.
    private func start(_ words: [String]) async -> (result: Shell.Result, options: StartOptions?) {
        final class Caught: @unchecked Sendable { var options: StartOptions? }
        let caught = Caught()
        var machine = Shell.machine
        machine.start = { options in
            caught.options = options
            return 0
        }
        let result = await Shell().run(words, machine: machine)
        return (result, caught.options)
    }

    // MARK: start

    @Test("every flag of start arrives, as what it means")
    func everyFlag() async {
        let line =
            "start --data-dir /d --config /c --name Serv1 --address 10.0.0.1,fd00::1 --port 7000 --http [::]:80 --join serv2"
            + " --join 10.0.0.3:7772 --join fd00::3 --join [fd00::4]:1 --no-discovery --socket /s --profile calm --hosts-file none"
        let (result, options) = await start(tokens(line))
        var expected = StartOptions()
        expected.dataDirectory = "/d"
        expected.configFile = "/c"
        expected.name = NodeName("serv1")
        expected.addresses = [IPAddress("10.0.0.1")!, IPAddress("fd00::1")!]
        expected.port = 7000
        expected.http = Endpoint("[::]:80", defaultPort: 1)
        expected.join = ["serv2", "10.0.0.3:7772", "fd00::3", "[fd00::4]:1"].compactMap { HostAndPort($0) }
        expected.discovery = false
        expected.socket = "/s"
        expected.profile = .calm
        expected.hostsFile = .untouched
        #expect(options == expected)
        #expect(result == Shell.Result())
        #expect(expected.join.map(\.description) == ["serv2", "10.0.0.3:7772", "fd00::3", "[fd00::4]:1"])
        #expect(expected.join.map(\.port) == [nil, 7772, nil, 1])
    }

    @Test("what nobody said stays open for the configuration file")
    func nothingSaid() async {
        #expect(await start(["start"]).options == StartOptions())
    }

    @Test("a value may follow behind an equals sign, and options may stand in any order")
    func forms() async {
        let (_, options) = await start(["start", "--port=1", "--name=a", "--hosts-file=/h=1"])
        #expect(options?.port == 1 && options?.name == NodeName("a") && options?.hostsFile == .path("/h=1"))
    }

    static let badValues: [(flag: String, value: String)] = [
        ("--name", "-a"), ("--name", "a.b"), ("--name", String(repeating: "x", count: 64)), ("--name", "ä"),
        ("--name", ""),
        ("--address", "10.0.0"), ("--address", "10.0.0.1,"), ("--address", "10.0.0.1,10.0.0.1"),
        ("--address", "0.0.0.0"),
        ("--address", "224.0.0.1"), ("--address", "10.0.0.1:80"), ("--address", ""),
        ("--port", "0"), ("--port", "65536"), ("--port", "-1"), ("--port", "x"), ("--port", "7771 "), ("--port", ""),
        ("--http", "8080"), ("--http", "0.0.0.0"), ("--http", "0.0.0.0:0"), ("--http", "serv1:8080"),
        ("--http", "[::]"),
        ("--http", "::1"), ("--http", "0.0.0.0:99999"),
        ("--join", ""), ("--join", "a_b"), ("--join", "serv1:"), ("--join", "serv1:0"), ("--join", "1.2.3"),
        ("--join", "http://serv1"), ("--join", "[serv1]:80"), ("--join", "10.0.0.256"),
        ("--socket", ""), ("--socket", "/" + String(repeating: "x", count: 107)),
        ("--profile", "faster"), ("--profile", "FAST"), ("--profile", ""),
        ("--hosts-file", "hosts"), ("--hosts-file", ""), ("--data-dir", ""), ("--config", ""),
    ]

    @Test("a wrong value ends with exit code 2 and names flag, value and what is allowed", arguments: badValues)
    func refused(flag: String, value: String) async {
        let (result, options) = await start(["start", "\(flag)=\(value)"])
        #expect(options == nil && result.code == 2 && result.out == "")
        let lines = result.err.split(separator: "\n")
        #expect(lines.count == 2)
        #expect(lines[0].hasPrefix("bramble: \(flag) is “\(value)”; allowed is "))
        #expect(lines[1].hasPrefix("remedy: "))
    }

    @Test("the daemon's exit code is the command's")
    func exitCode() async {
        #expect(await Shell().run(["start", "--port", "7"]).code == 1)
    }

    // MARK: wrong lines

    static let wrong: [(line: String, problem: String, remedy: String)] = [
        ("nodes --jsn", "“nodes” has no option --jsn", "did you mean: --json"),
        ("nodes --frobnicate", "“nodes” has no option --frobnicate", "see all options: bramble help nodes"),
        ("nodes -x", "“nodes” has no option -x", "see all options: bramble help nodes"),
        ("nodes --state", "--state needs a value: alive, suspect, down, left", "write it: --state STATE"),
        ("nodes --state --json", "--state needs a value", "if it is the value: --state=--json"),
        ("nodes --state dwn", "--state is “dwn”; allowed is alive, suspect, down, left", "did you mean: down"),
        ("nodes --state down --state left", "--state is given twice", "give it once"),
        ("nodes --json=yes", "--json takes no value, but got “yes”", "write it alone: --json"),
        ("nodes serv1", "“serv1” is one word too many for “nodes”", "it is written: bramble nodes [OPTIONS]"),
        ("nodse", "there is no command “nodse”", "did you mean: bramble nodes or bramble node"),
        ("juggle", "there is no command “juggle”", "see all commands: bramble help"),
        ("add serv1", "there is no command “add”", "did you mean: bramble node add"),
        ("node ad serv1", "there is no command “node ad”", "did you mean: bramble node add"),
        ("why", "“why” needs NAME", "write it: bramble why [OPTIONS] NAME"),
        ("--json nodes", "--json belongs behind the command", "write: bramble COMMAND --json"),
        ("--api http://a nodes --socket /s", "--socket and --api name two different daemons", "give only one of them"),
        ("nodes --token x", "--token is of no use without --api", "name the node"),
        ("nodes --api serv1", "“serv1” is not the address of a node's HTTP API", "write it like http://serv1:8080"),
        ("nodes --api https://a --ca /nowhere", "the certificate file /nowhere cannot be read", "name a readable file"),
        ("nodes --api https://a --ca /dev/null --insecure", "--insecure makes --ca useless", "give only one of them"),
        ("--timeout 5 help", "“help” has no option --timeout", "see all options: bramble help help"),
        ("events --since -5", "--since is “-5”; allowed is the ID of an event", "see: bramble help events"),
        ("events --last -5", "--last is “-5”; allowed is a whole number from 0 to 1000000", "see: bramble help events"),
        ("completion tcsh", "SHELL is “tcsh”; allowed is bash, zsh, fish", "see: bramble help completion"),
        (
            "version --timeout 0", "--timeout is “0”; allowed is a whole number from 1 to 3600",
            "see: bramble help version"
        ),
    ]

    @Test("what cannot be right is named, with what would be", arguments: wrong)
    func wrongLine(line: String, problem: String, remedy: String) async {
        let result = await Shell().run(tokens(line))
        #expect(result.code == 2 && result.out == "")
        let lines = result.err.split(separator: "\n").map { String($0) }
        #expect(lines.count == 2)
        #expect(lines.first?.hasPrefix("bramble: " + problem) == true, "\(result.err)")
        #expect(lines.last?.hasPrefix("remedy: " + remedy) == true, "\(result.err)")
    }

    @Test("a message is one line and moves no cursor, whatever was typed")
    func hostile() async {
        let result = await Shell().run(["no\u{1B}[2J\nrm -rf\u{202E}\u{7}"])
        #expect(result.err.split(separator: "\n").count == 2)
        #expect(!result.err.unicodeScalars.contains { $0 == "\u{1B}" || $0 == "\u{7}" || $0 == "\u{202E}" })
    }

    @Test("junk on the command line is refused, never a crash", arguments: 0..<300)
    func junk(seed: UInt64) async {
        var chance = SeededGenerator(seed: seed)
        let pieces = [
            "nodes", "node", "add", "start", "--", "-", "--json", "--json=", "--state", "=", "--=", "-y", "-yyy", "-n5",
            "-n",
            "-n=5", "--since", "-5", "5", "", "é", "--help", "-h", "--socket", "help", "why",
            String(repeating: "a", count: 5000),
        ]
        let words = (0..<chance.pick(from: [1, 2, 3, 5, 8])!).map { _ in chance.pick(from: pieces)! }
        let result = await Shell { _ in TinyServer.answer("200 OK", "[]") }.run(words)
        #expect([0, 1, 2, 3].contains(result.code), "\(words)")
        #expect(result.code == 0 || !result.err.isEmpty, "\(words)")
    }

    // MARK: right lines

    @Test("behind a double dash everything is an argument")
    func doubleDash() async {
        let shell = Shell()
        _ = await shell.run(["why", "--", "--json"])
        #expect(shell.server.asked.last?.hasPrefix("GET /v1/why/--json ") == true)
    }

    @Test("a negative number is an argument, not an option")
    func negative() async {
        let shell = Shell()
        _ = await shell.run(["why", "-5"])
        #expect(shell.server.asked.last?.hasPrefix("GET /v1/why/-5 ") == true)
    }

    @Test(
        "short options may be joined, and take their value along",
        arguments: ["-fn2", "-f -n 2", "--last=2 -f", "-n2 -f"])
    func short(options: String) async {
        let result = await Shell(Shell.following).run(["events", "--json"] + tokens(options))
        #expect(result.out.split(separator: "\n").count == 4)
        #expect(result.out.contains("\"id\":1044") && !result.out.contains("\"id\":1043"))
    }

    @Test("the daemon is found by option, before or behind the command, then by environment")
    func socket() async {
        let shell = Shell()
        let path = shell.server.path
        let nowhere = ["BRAMBLE_SOCKET": "/nowhere/x"]
        #expect(await shell.run(["--socket", path, "nodes", "--names"], environment: nowhere).code == 0)
        #expect(await shell.run(["nodes", "--socket=\(path)", "--names"], environment: nowhere).code == 0)
        #expect(await shell.run(["nodes", "--names"]).code == 0)
        #expect(await shell.run(["nodes"], environment: nowhere).code == 3)
        let tooLong = ["BRAMBLE_SOCKET": "/" + String(repeating: "x", count: 107)]
        #expect(await shell.run(["nodes"], environment: tooLong).code == 2)
    }

    @Test("help explains every command without asking a daemon")
    func helpEverywhere() async {
        let shell = Shell { _ in [] }
        let overview = await shell.run(["help"]).out
        for line in overview.split(separator: "\n") where line.hasPrefix("  ") && !line.hasPrefix("   ") {
            // Two columns: the words of the command, then at least two spaces.
            guard let gap = line.dropFirst(2).firstRange(of: "  ") else { continue }
            let words = tokens(String(line[line.index(line.startIndex, offsetBy: 2)..<gap.lowerBound]))
            let byHelp = await shell.run(["help"] + words)
            let byOption = await shell.run(words + ["--help"])
            #expect(byHelp == byOption && byHelp.code == 0, "\(words)")
            #expect(byHelp.out.contains("Usage: bramble \(words.joined(separator: " "))"), "\(words)")
        }
        #expect(shell.server.asked.isEmpty)
    }

    @Test("no line is wider than the terminal", arguments: [40, 50, 64, 80, 100])
    func width(columns: Int) async {
        for line in ["help", "help nodes", "help start", "nodes", "why serv3", "doctor", "node waiting"] {
            let result = await Shell().run(tokens(line), width: columns)
            let longest = result.out.split(separator: "\n").max { $0.count < $1.count } ?? ""
            // A single word, such as a path, may be longer than what is left for it.
            #expect(longest.count <= max(columns, 60), "\(line): \(longest)")
        }
    }

    // MARK: who is asked, and what is sent

    @Test("an action that asks sends nothing before the answer")
    func asksFirst() async {
        for words in [["node", "remove", "serv4"], ["node", "add", "serv6"], ["peer", "detach", "serv4"]] {
            let shell = Shell()
            #expect(await shell.run(words, answers: ["no"]).code == 1)
            #expect(await shell.run(words, answers: []).code == 1)
            #expect(await shell.run(words).code == 2)
            #expect(shell.server.asked.allSatisfy { $0.hasPrefix("GET ") })
            #expect(await shell.run(words, answers: [" YES "]).code == 0)
            #expect(shell.server.asked.contains { !$0.hasPrefix("GET ") })
        }
    }

    @Test("two waiting machines of one name are told apart by their codes")
    func twins() async {
        let shell = Shell { request in
            if request.hasPrefix("GET /v1/waiting") {
                return TinyServer.answer(
                    "200 OK",
                    """
                    [{"name":"pi","id":"1","code":"aaaa-aaaa-aaaa","address":"10.0.0.1","port":1,"reason":"no-key","since":""},
                    {"name":"pi","id":"2","code":"bbbb-bbbb-bbbb","address":"10.0.0.2","port":1,"reason":"no-key","since":""}]
                    """)
            }
            return Shell.node(request)
        }
        let result = await shell.run(["node", "add", "pi"], answers: ["yes"])
        #expect(result.code == 1)
        #expect(result.err.contains("say which one by its code: aaaa-aaaa-aaaa, bbbb-bbbb-bbbb"))
        #expect(await shell.run(["node", "add", "bbbb-bbbb-bbbb"], answers: ["yes"]).code == 0)
    }

    @Test("a password is sent once it was typed twice, or as the first line of standard input")
    func password() async {
        let shell = Shell()
        #expect(await shell.run(["password"], answers: ["four words here", "four words here"]).code == 0)
        #expect(shell.server.asked.last?.hasSuffix(#"{"password":"four words here"}"#) == true)
        #expect(await shell.run(["password", "--user", "anna"], input: ["from a file", "rest"]).code == 0)
        let sent = shell.server.asked.last ?? ""
        #expect(sent.contains(#""password":"from a file""#) && sent.contains(#""user":"anna""#))
        let count = shell.server.asked.count
        #expect(await shell.run(["password"], answers: ["one", "two"]).code == 1)
        #expect(await shell.run(["password"], answers: [""]).code == 2)
        #expect(shell.server.asked.count == count)
    }

    @Test("a token from the environment goes along with --api, and to no socket")
    func token() async {
        let environment = ["BRAMBLE_TOKEN": "brt_abc"]
        let local = Shell()
        _ = await local.run(["nodes", "--names"], environment: environment)
        #expect(local.server.asked.last?.contains("Authorization") == false)
        let remote = TinyServer(port: ()) { _ in TinyServer.answer("200 OK", "[]") }
        let words = ["nodes", "--json", "--api", "http://127.0.0.1:\(remote.port)"]
        #expect(await local.run(words, environment: environment).out == "[]\n")
        #expect(remote.asked.last?.contains("Authorization: Bearer brt_abc\r\n") == true)
        #expect(await local.run(words + ["--token", "other"], environment: environment).code == 0)
        #expect(remote.asked.last?.contains("Authorization: Bearer other\r\n") == true)
        remote.stop()
        #expect(await local.run(words).code == 3)
    }

    @Test("a node on another machine is given the password of today, too")
    func remotePassword() async {
        let remote = TinyServer(port: ()) { _ in TinyServer.answer("200 OK", #"{"name":"admin","done":""}"#) }
        defer { remote.stop() }
        let words = ["password", "--api", "http://127.0.0.1:\(remote.port)", "--token", "x"]
        #expect(await Shell().run(words, input: ["old one", "new words"]).code == 0)
        let sent = remote.asked.last ?? ""
        #expect(sent.contains(#""current":"old one""#) && sent.contains(#""password":"new words""#))
    }

    @Test("who is not known is told how to make a token")
    func unknownCaller() async {
        let shell = Shell { _ in
            TinyServer.answer(
                "401 Unauthorized", #"{"error":{"problem":"this needs a login","remedy":"log in at /login"}}"#)
        }
        let result = await shell.run(["nodes"])
        #expect(result.code == 1)
        #expect(result.err.contains("remedy: give a token that bramble token create made there"))
    }

    @Test("a machine in no cluster says so, in status and doctor")
    func waiting() async {
        let shell = Shell { request in
            guard request.hasPrefix("GET /v1/status") else { return TinyServer.answer("200 OK", "[]") }
            var status = Example.status
            status.cluster = ""
            status.state = .joining
            status.notes = ["this machine waits since 2026-11-21T09:53:00.000Z"]
            return TinyServer.answer("200 OK", Shell.json(status))
        }
        let status = await shell.run(["status"]).out
        #expect(status.hasPrefix("Cluster    none\n"))
        #expect(status.contains("State      joining: not a member yet\n"))
        #expect(status.hasSuffix("Note       this machine waits since 09:53:00.000\n"))
        #expect(await shell.run(["doctor"]).out.contains("this machine is in no cluster"))
    }

    @Test("doctor --strict fails when a check failed, and only then")
    func strict() async {
        #expect(await Shell().run(["doctor"]).code == 0)
        #expect(await Shell().run(["doctor", "--strict", "--json"]).code == 1)
        let well = Shell { _ in
            TinyServer.answer("200 OK", #"[{"check":"clock","state":"warn","text":"a bit off","remedy":""}]"#)
        }
        #expect(await well.run(["doctor", "--strict"]).code == 0)
    }
}
