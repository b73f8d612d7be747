import Testing

@Suite("what commands print is what somebody has read and found good")
struct GoldenTests {
    struct Case: Sendable, CustomTestStringConvertible {
        var name: String
        var words: String
        var width: Int?
        var colour = false
        var unicode = true
        var answers: [String]?
        var testDescription: String { "\(name): bramble \(words)" }

        init(
            _ name: String, _ words: String, width: Int? = nil, colour: Bool = false, unicode: Bool = true,
            answers: [String]? = nil
        ) {
            self.name = name
            self.words = words
            self.width = width
            self.colour = colour
            self.unicode = unicode
            self.answers = answers
        }
    }

    static let cases = [
        Case("nodes", "nodes"), Case("nodes-narrow", "nodes", width: 60), Case("nodes-tiny", "nodes", width: 36),
        Case("nodes-colour", "nodes", width: 120, colour: true),
        Case("nodes-ascii", "nodes", width: 120, unicode: false), Case("nodes-state", "nodes --state down"),
        Case("nodes-json", "nodes --json --state=alive"), Case("nodes-names", "nodes --names"),
        Case("nodes-contradiction", "nodes --names --json"), Case("nodes-watch-file", "nodes --watch"),
        Case("status", "status"), Case("status-json", "status --json"),
        Case("events", "events"), Case("events-narrow", "events", width: 80), Case("events-last", "events --last 2"),
        Case("events-since", "events --since 1042"),
        Case("events-json", "events --since 1042 --json"), Case("why", "why serv3"),
        Case("why-narrow", "why serv3", width: 60), Case("why-json", "why serv3 --json"),
        Case("why-unknown", "why serv99"),
        Case("doctor", "doctor"), Case("doctor-narrow", "doctor --strict", width: 70),
        Case("doctor-json", "doctor --json"),
        Case("sql", "sql select_1"), Case("sql-narrow", "sql select_1", width: 60),
        Case("sql-json", "sql select_1 --json"), Case("sql-many", "sql select_many"), Case("sql-write", "sql insert"),
        Case("sql-alone", "sql insert_alone"), Case("sql-list", "sql insert;update --json"),
        Case("sql-error", "sql syntax"), Case("sql-param", "sql select_? -p hello"), Case("sql-nothing", "sql"),
        Case("sql-prompt", "sql", answers: [".tables", "insert", "into;", "syntax;", "select_1;", ".quit"]),
        Case("watch", "watch sensors"), Case("database", "database"), Case("database-narrow", "database", width: 60),
        Case("database-json", "database --json"),
        Case("database-release", "database release serv7 --yes"),
        Case("database-release-script", "database release serv7"),
        Case("database-release-asked", "database release serv7", answers: ["no"]),
        Case("database-release-nobody", "database release"), Case("conflicts", "conflicts"),
        Case("conflicts-json", "conflicts --last 1 --json"), Case("restore-script", "restore /etc/hostname"),
        Case("restore-asked", "restore /etc/hostname", answers: ["no"]), Case("restore-none", "restore /nowhere/x"),
        Case("backup-there", "backup /etc/hostname"), Case("help-sql", "help sql"),
        Case("service-list", "service list"), Case("service-list-narrow", "service list", width: 50),
        Case("service-list-json", "service list --json"), Case("service-show", "service show files"),
        Case("service-show-typo", "service show fils"), Case("service-move", "service move files --to serv2"),
        Case("service-start", "service start files"), Case("service-stop", "service stop files", answers: ["yes"]),
        Case("service-stop-script", "service stop files"),
        Case("service-add", "service add web --address 192.168.1.50/24 --run systemd:nginx"),
        Case("service-add-known", "service add files --run systemd:smbd"), Case("service-add-badly", "service add a/b"),
        Case("service-remove", "service remove files", answers: ["yes"]),
        Case("service-remove-script", "service remove files"),
        Case("mirror-add", "mirror add web --path /srv/web/ --every on-change --json"),
        Case("mirror-remove", "mirror remove samba --yes"), Case("help-service-add", "help service add"),
        Case("service-drill", "service drill files", answers: ["y"]), Case("node-hold", "node hold serv4"),
        Case("mirror-list", "mirror list"), Case("mirror-list-json", "mirror list --json"),
        Case("mirror-run", "mirror run samba"), Case("mirror-conflicts", "mirror conflicts"),
        Case("mirror-restore", "mirror restore p1"),
        Case("apply", "apply -f /etc/hostname"), Case("apply-prune", "apply --file /etc/hostname --prune"),
        Case("apply-nothing", "apply"), Case("apply-missing", "apply -f /nowhere/x"),
        Case("plan-json", "plan -f /etc/hostname --json"), Case("export", "export"),
        Case("export-json", "export --json"),
        Case("import-missing", "import keepalived /nowhere/x"), Case("import-unknown", "import pacemaker /etc"),
        Case("waiting", "node waiting"), Case("waiting-json", "node waiting --json"),
        Case("add-yes", "node add serv6 --yes"), Case("add-asked", "node add serv6", answers: ["yes"]),
        Case("add-refused", "node add n8tb-cf24-rqzf", answers: ["n"]),
        Case("add-unknown", "node add serv99", answers: ["yes"]), Case("add-script", "node add serv6"),
        Case("remove-asked", "node remove serv4", answers: ["y"]),
        Case("remove-refused", "node remove serv4", answers: [""]),
        Case("remove-self", "node remove serv1", answers: ["y"]),
        Case("remove-typo", "node remove serv44", answers: ["y"]),
        Case("remove-down", "node remove a-node-with-a-long-name-in-the-cellar", answers: ["no"]),
        Case("remove-script", "node remove serv4"), Case("remove-yes", "node remove serv4 --yes --json"),
        Case("peer-status", "peer status"), Case("peer-probe", "peer probe 192.168.1.16"),
        Case("peer-probe-failed", "peer probe nowhere"), Case("peer-detach", "peer detach fd00:1234:5678::4 --yes"),
        Case("peer-detach-unknown", "peer detach serv99 --yes"), Case("peer-detach-script", "peer detach serv4"),
        Case("token-create", "token create backup"), Case("token-list", "token list"),
        Case("token-list-json", "token list --json"), Case("token-revoke", "token revoke backup"),
        Case("password", "password", answers: ["four random words", "four random words"]),
        Case("password-differs", "password --user anna", answers: ["four random words", "four random wards"]),
        Case("password-empty", "password"),
        Case("init", "init --cluster home --data-dir /tmp/x"), Case("init-json", "init --cluster home --json"),
        Case("init-taken", "init --cluster home --data-dir /taken"), Case("init-nameless", "init"),
        Case("version", "version"), Case("version-json", "version --json"), Case("version-option", "--version"),
        Case("version-alone", "version --socket /nowhere/x"),
        Case("help", "help"), Case("help-narrow", "--help", width: 50), Case("help-nodes", "help nodes"),
        Case("help-start", "start --help"), Case("help-node", "help node"), Case("help-node-remove", "node remove -h"),
        Case("help-unknown", "help nods"), Case("help-too-deep", "help nodes all"), Case("nothing", ""),
        Case("group-alone", "node"), Case("no-daemon", "nodes --socket /nowhere/x"),
        Case("completion-bash", "completion bash"), Case("completion-zsh", "completion zsh"),
        Case("completion-fish", "completion fish"), Case("man", "man"),
    ]

    @Test("golden", arguments: cases)
    func prints(_ example: Case) async {
        let words = example.words.split(separator: " ").map { String($0) }
        let result = await Shell().run(
            words, width: example.width, colour: example.colour, unicode: example.unicode, answers: example.answers)
        var text = "$ bramble \(example.words)\n\(result.out)"
        if !result.err.isEmpty { text += "--- standard error\n\(result.err)" }
        if result.code != 0 { text += "--- exit code \(result.code)\n" }
        // Colours are seen in a diff as \e, not by whoever reads the file being painted.
        Golden.check(example.name, text.replacing("\u{1B}", with: "\\e"))
    }
}
