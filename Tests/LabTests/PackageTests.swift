import Lab
import Testing

/// The Debian package, built of the binary under test and installed on a host of the lab.
@Suite("the package", .serialized, .enabled(if: Lab.isAvailable, "no lab: \(Lab.obstacle ?? "")"))
@LabThread
struct PackageTests {
    /// Where this source lies: three steps above this file.
    private static let source = #filePath.split(separator: "/").dropLast(3).map { "/\($0)" }.joined()

    @Test("it installs, verifies, runs with nothing but its unit's powers, and goes without a trace")
    func wholeLife() throws {
        let lab = try Lab(["n1"])
        defer { lab.close() }
        let host = lab["n1"]
        let package = try build(on: host)

        // Installed, and again: the second time changes nothing.
        let installer = "\(Self.source)/deploy/install.sh"
        let first = try host.run([installer, package], within: .seconds(60))
        #expect(first.succeeded, "\(first.output)\(first.errors)")
        let second = try host.run([installer, package], within: .seconds(60))
        #expect(second.succeeded && second.output.contains("already installed"), "\(second.output)\(second.errors)")
        #expect(try host.require("dpkg", "--verify", "bramble") == "")
        #expect(
            try host.require("dpkg-query", "-W", "-f=${Conffiles}", "bramble").contains("/etc/bramble/bramble.yaml"))

        let held = try host.require("dpkg", "-L", "bramble").split(separator: "\n")
        for file in [
            "/usr/bin/bramble", "/usr/lib/systemd/system/bramble.service",
            "/usr/lib/systemd/system/bramble-witness.service",
            "/etc/bramble/bramble.yaml", "/usr/share/man/man1/bramble.1.gz", "/usr/share/doc/bramble/copyright",
            "/usr/share/doc/bramble/changelog.gz", "/usr/share/bash-completion/completions/bramble",
            "/usr/share/zsh/vendor-completions/_bramble", "/usr/share/fish/vendor_completions.d/bramble.fish",
            "/usr/share/bramble/ansible/bramble-inventory", "/usr/share/bramble/ansible/install.yaml",
            "/usr/share/bramble/ansible/files/balancer.conf.j2",
        ] { #expect(held.contains(Substring(file)), "the package lacks \(file)") }
        let pages = entries(of: "\(Self.source)/docs/operating").filter { $0.hasSuffix(".md") }
        #expect(pages.count > 10)
        for page in pages { #expect(held.contains("/usr/share/doc/bramble/operating/\(page)"), "\(page)") }

        let unit = "/usr/lib/systemd/system/bramble.service"
        let verified = try host.run("systemd-analyze", "verify", unit)
        #expect(verified.succeeded && !verified.errors.contains("bramble"), "\(verified.errors)")
        let witness = try host.run("systemd-analyze", "verify", "/usr/lib/systemd/system/bramble-witness.service")
        #expect(witness.succeeded && !witness.errors.contains("bramble"), "\(witness.errors)")
        try runAsUnit(host, unit: try #require(host.read(unit)))

        let removed = try host.run([installer, "--uninstall"], within: .seconds(60))
        #expect(removed.succeeded, "\(removed.output)\(removed.errors)")
        #expect(!host.exists("/usr/bin/bramble") && host.exists("/var/lib/bramble/identity.key"))
        #expect(host.read("/etc/hosts") == "127.0.0.1 localhost\n::1 localhost\n")
        let purged = try host.run(["dpkg", "--purge", "bramble"], within: .seconds(60))
        #expect(purged.succeeded, "\(purged.errors)")
        #expect(!host.exists("/var/lib/bramble") && !host.exists("/etc/bramble"))
    }

    @Test("every key of the commented configuration file is one that the daemon knows, with a value it takes")
    func configuration() throws {
        let lab = try Lab(["n1"])
        defer { lab.close() }
        let text = try #require(file("\(Self.source)/deploy/bramble.yaml"))
        // A comment sign with no space after it is a setting; of two for one key the first is tried.
        var seen: Set<Substring> = []
        let settings = text.split(separator: "\n").filter {
            $0.hasPrefix("#") && $0.dropFirst().first?.isLetter == true
        }
        .map { $0.dropFirst() }.filter { seen.insert($0.prefix { $0 != ":" }).inserted }
        #expect(settings.count > 10)
        // These would look for hosts or files that are not here.
        let kept = settings.filter { line in !["address", "join"].contains { line.hasPrefix("\($0):") } }
        try lab["n1"].write(kept.joined(separator: "\n") + "\n", to: "/etc/bramble.yaml")
        let node = BrambleNode(BrambleNode.builtHere, on: lab["n1"])
        try node.makeCluster("hedge")
        try node.start(["--config", "/etc/bramble.yaml"])
        #expect(eventually(within: .seconds(5)) { (try? node.status().node) == "serv1" }, "\(node.log)")
        try lab["n1"].write(kept.joined(separator: "\n") + "\nprot: 7771\n", to: "/etc/bramble.yaml")
        node.stop()
        try node.restart()
        #expect(node.process?.wait(.seconds(5)) == .exited(2))
        #expect(node.log.contains("prot") && node.log.contains("port"), "\(node.log)")
    }

    /// Twice, because the same input must give the same bytes.
    private func build(on host: Host) throws -> String {
        try host.require("strip", "-o", "/tmp/bramble", BrambleNode.builtHere)
        for directory in ["/tmp/dist", "/tmp/again"] {
            // The binary under test is linked with Swift's own shared libraries, which no package has.
            let built = try host.run(
                ["\(Self.source)/deploy/make-deb.sh", "/tmp/bramble", directory],
                environment: [
                    "SHLIBDEPS_OPTIONS": "--ignore-missing-info", "SOURCE_DATE_EPOCH": "1790000000",
                    "DEB_COMPRESSION": "gzip",
                ],
                within: .seconds(120))
            try #require(built.succeeded, "\(built.output)\(built.errors)")
        }
        let package = try host.require("sh", "-c", "echo /tmp/dist/bramble_*.deb").split(separator: "\n")[0]
        #expect(try host.run("sh", "-c", "cmp /tmp/dist/*.deb /tmp/again/*.deb").succeeded)
        return String(package)
    }

    /// What systemd would do, by hand: the unit's directories, umask and command.
    private func runAsUnit(_ host: Host, unit: String) throws {
        func value(_ key: String) throws -> String {
            let line = unit.split(separator: "\n").first { $0.hasPrefix("\(key)=") }
            return String(try #require(line, "the unit has no \(key)").dropFirst(key.count + 1))
        }
        #expect(try value("Type") == "notify")
        #expect(try value("Restart") == "always" && Int(value("WatchdogSec")) ?? 0 > 0)
        #expect(try value("Delegate") == "yes")
        #expect(try value("KillMode") == "mixed")
        // What the unit shuts out is shut out of every service below it.
        let walls = [
            "Protect", "Private", "Restrict", "SystemCall", "CapabilityBounding", "NoNew", "MemoryDeny", "Lock",
        ]
        for line in unit.split(separator: "\n") {
            #expect(!walls.contains { line.hasPrefix($0) }, "services would inherit \(line)")
        }
        let script = """
            set -e
            umask \(try value("UMask"))
            install -d -m \(try value("StateDirectoryMode")) /var/lib/\(try value("StateDirectory"))
            install -d -m \(try value("RuntimeDirectoryMode")) /run/\(try value("RuntimeDirectory"))
            exec \(try value("ExecStart"))
            """
        let listener = """
            import socket
            s = socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM)
            s.bind('/run/notify')
            while True: print(s.recv(4096).decode(), flush=True)
            """
        let notices = try host.spawn(["python3", "-c", listener])
        #expect(eventually(within: .seconds(5)) { host.exists("/run/notify") })
        let daemon = try host.spawn(
            ["unshare", "--mount", "--propagation", "private", "sh", "-c", script],
            environment: ["NOTIFY_SOCKET": "/run/notify", "WATCHDOG_USEC": "1000000"])
        #expect(eventually(within: .seconds(10)) { notices.output.contains("READY=1") }, "\(daemon.output)")
        #expect(eventually(within: .seconds(5)) { notices.output.contains("WATCHDOG=1") }, "\(daemon.output)")

        // It waits for a key; init makes one while it runs.
        #expect(try host.run("bramble", "status").output.contains("key"))
        let made = try host.run("bramble", "init", "--cluster", "hedge")
        #expect(made.succeeded, "\(made.errors)")
        let hasBlock = eventually(within: .seconds(10)) { host.read("/etc/hosts")?.contains("10.77.0.1\tn1") == true }
        #expect(hasBlock, "\(daemon.output)")
        #expect(try host.require("stat", "-c", "%a", "/etc/hosts") == "644\n")
        let nodes = try host.run("bramble", "nodes")
        #expect(nodes.succeeded && nodes.output.contains("n1"), "\(nodes.errors)")
        #expect(
            !daemon.output.contains("Permission denied") && !daemon.output.contains("not permitted"), "\(daemon.output)"
        )
        #expect(daemon.stop() == .exited(0), "\(daemon.output)")
    }
}
