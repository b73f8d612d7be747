import BrambleAPI
import Lab
import Testing

@Suite("the nodes, handed to Ansible", .serialized, .enabled(if: Lab.isAvailable, "no lab: \(Lab.obstacle ?? "")"))
@LabThread
struct AnsibleTests {
    @Test(
        "a labelled node gets its group's play, the real ansible-playbook changes it once, and its exit code is passed on"
    )
    func launch() throws {
        let cluster = try Cluster("n1", "n2")
        let label = try cluster["n2"].cli("node", "label", "n1", "role=web", "rack=a")
        #expect(label.succeeded, "\(label)")
        let labelled = eventually(within: .seconds(10)) {
            (try? cluster["n1"].nodes())?.first { $0.name == "n1" && $0.labels["role"] == "web" }
        }
        #expect(labelled?.labels["rack"] == "a")
        try cluster["n1"].host.write(
            """
            - hosts: web
              gather_facts: false
              tasks:
                - {name: mark, copy: {content: "made for {{ inventory_hostname }}", dest: /tmp/made}}
            - hosts: db
              gather_facts: false
              tasks:
                - {name: mark, copy: {content: "db", dest: /tmp/db}}
            """, to: "/tmp/site.yml")
        let hosts = try cluster["n1"].cli("inventory", "--for", "/tmp/site.yml")
        #expect(hosts.output.contains("[web]\nn1 ansible_host=") && hosts.output.contains("[db]\nn2 "), "\(hosts)")
        func run() throws -> CommandResult {
            try cluster["n1"].cli(
                [
                    "launch", "2", "/tmp/site.yml", "--", "-c", "local", "-e",
                    "ansible_python_interpreter=/usr/bin/python3",
                ],
                within: .seconds(90))
        }
        let first = try run()
        #expect(first.succeeded && first.output.contains("changed=1"), "\(first)")
        #expect(cluster["n1"].host.read("/tmp/made") == "made for n1")
        let second = try run()
        #expect(second.succeeded && !second.output.contains("changed=1"), "\(second)")
        try cluster["n1"].host.write("- hosts: web\n  tasks: [{name: no, fail: {msg: no}}]\n", to: "/tmp/bad.yml")
        let failed = try cluster["n1"].cli(
            ["launch", "1", "/tmp/bad.yml", "--", "-c", "local"], within: .seconds(60))
        #expect(failed.status == 2, "\(failed)")
        let none = try cluster["n1"].cli("launch", "9", "/tmp/site.yml")
        #expect(none.status == 1 && none.errors.contains("9 nodes are wanted"), "\(none)")
    }

    private static let source = "/" + #filePath.split(separator: "/").dropLast(3).joined(separator: "/")
    private static let playbooks = "\(source)/deploy/ansible"

    /// sshd on every node and these, which the first one's root may enter.
    private func openSSH(_ cluster: Cluster, and others: [Host] = []) throws {
        let control = cluster.nodes[0].host
        let hosts = cluster.nodes.map(\.host) + others
        try control.require("mkdir", "-p", "-m", "700", "/root/.ssh")
        try control.require("ssh-keygen", "-q", "-t", "ed25519", "-N", "", "-f", "/root/.ssh/id_ed25519")
        try control.write("Host *\n  StrictHostKeyChecking accept-new\n", to: "/root/.ssh/config")
        let key = try #require(control.read("/root/.ssh/id_ed25519.pub"))
        for host in hosts {
            try host.require("mkdir", "-p", "-m", "700", "/root/.ssh", "/run/sshd")
            try host.write(key, to: "/root/.ssh/authorized_keys")
            try host.require("ssh-keygen", "-q", "-t", "ed25519", "-N", "", "-f", "/etc/ssh/lab_key")
            try host.write(
                """
                HostKey /etc/ssh/lab_key
                UsePAM no
                StrictModes no
                PermitRootLogin yes
                AuthorizedKeysFile /root/.ssh/authorized_keys
                Subsystem sftp internal-sftp

                """, to: "/etc/ssh/lab_config")
            _ = try host.spawn(["/usr/sbin/sshd", "-D", "-e", "-f", "/etc/ssh/lab_config"])
        }
        // ssh between the nodes works before Ansible has to.
        for host in hosts {
            let isOpen = try eventually(within: .seconds(20)) {
                try control.run(["ssh", "-o", "BatchMode=yes", host.address, "true"]).succeeded
            }
            #expect(isOpen, "\(host.name)")
        }
    }

    /// `n1 : ok=7 changed=3 …` of the recap.
    private func recap(_ result: CommandResult) -> [String: [String: Int]] {
        // Of several playbooks the last one counts all of them.
        let lines = result.output.split(separator: "\n").split { $0.hasPrefix("PLAY RECAP") }.last ?? []
        return Dictionary(
            lines.compactMap { line -> (String, [String: Int])? in
                let halves = line.split(separator: ":")
                guard halves.count == 2 else { return nil }
                let counts = halves[1].split(separator: " ").compactMap { word -> (String, Int)? in
                    let pair = word.split(separator: "=")
                    return pair.count == 2 ? Int(pair[1]).map { (String(pair[0]), $0) } : nil
                }
                return (halves[0].filter { $0 != " " }, Dictionary(counts) { first, _ in first })
            }
        ) { first, _ in first }
    }

    @Test(
        "our playbook of web servers and a balancer, launched over real SSH: whole, and a second time nothing changes",
        .timeLimit(.minutes(4)))
    func overSSH() throws {
        let cluster = try Cluster(names: ["n1", "n2", "n3"], others: ["client"])
        try openSSH(cluster)
        // Who is what must not depend on who is busy at the moment.
        for (node, role) in [("n1", "web"), ("n2", "web"), ("n3", "balancer")] {
            #expect(try cluster["n1"].cli("node", "label", node, "role=\(role)").succeeded)
        }
        #expect(
            eventually(within: .seconds(10)) {
                (try? cluster["n1"].nodes())?.allSatisfy { $0.labels["role"] != nil } == true
            })
        func launch() throws -> CommandResult {
            try cluster["n1"].cli(
                [
                    "launch", "3", "\(Self.playbooks)/web.yaml", "--", "--user", "root", "-e",
                    "ansible_python_interpreter=/usr/bin/python3",
                    // The lab's hosts have no systemd: nginx is started by its init script.
                    "-e", #"{"ansible_facts": {"service_mgr": "service"}}"#,
                ], within: .seconds(120))
        }
        let first = try launch()
        #expect(first.succeeded, "\(first)")
        #expect(Set(recap(first).keys) == ["n1", "n2", "n3"], "\(first)")
        #expect(recap(first).values.allSatisfy { $0["changed"] ?? 0 > 0 && $0["failed"] == 0 && $0["skipped"] == 0 })
        // Every page comes through the balancer, from one of the servers.
        let page = try cluster.lab["client"].run("curl", "-s", "http://\(cluster["n3"].host.address):8000/")
        #expect(["n1", "n2"].contains { page.output == "This page comes from \($0).\n" }, "\(page)")
        let second = try launch()
        #expect(second.succeeded, "\(second)")
        #expect(
            recap(second).count == 3 && recap(second).values.allSatisfy { $0["changed"] == 0 && $0["failed"] == 0 },
            "\(second.output)")
        // A node that dies in the middle is given up, and the others' work goes on.
        try cluster["n1"].host.write(
            """
            - hosts: [web, balancer]
              gather_facts: false
              tasks:
                - {name: long, ansible.builtin.shell: "touch /tmp/begun; until [ -e /tmp/go ]; do sleep 0.2; done"}
                - {name: done, ansible.builtin.file: {path: /tmp/done, state: touch}}

            """, to: "/tmp/slow.yml")
        let slow = try cluster["n1"].host.spawn([
            cluster["n1"].program, "launch", "3", "/tmp/slow.yml", "--", "--user", "root", "-e",
            "ansible_python_interpreter=/usr/bin/python3",
        ])
        let isBegun = eventually(within: .seconds(60)) {
            cluster.nodes.allSatisfy { $0.host.exists("/tmp/begun") }
        }
        #expect(isBegun, "\(slow.output)")
        try cluster.lab.powerOff(cluster["n3"].host)
        for name in ["n1", "n2"] { try cluster[name].host.write("", to: "/tmp/go") }
        #expect(slow.wait(.seconds(60)) == .exited(4), "\(slow.output)")
        #expect(slow.output.contains("fatal: [n3]: UNREACHABLE!"), "\(slow.output)")
        #expect(cluster["n1"].host.exists("/tmp/done") && cluster["n2"].host.exists("/tmp/done"))
        // Nor is it given more.
        #expect(eventually(within: .seconds(60)) { cluster["n1"].sees("n3", as: .down) })
        let less = try launch()
        #expect(less.status == 1 && less.errors.contains("3 nodes are wanted, and 2 can be given work"), "\(less)")
    }

    /// The lab's hosts have no systemd: what a package's unit would start is started by an init script.
    private func addService(_ name: String, _ command: String, on host: Host) throws {
        try host.write(
            """
            #!/bin/sh
            ### BEGIN INIT INFO
            # Provides: \(name)
            # Required-Start: $remote_fs
            # Required-Stop: $remote_fs
            # Default-Start: 2 3 4 5
            # Default-Stop: 0 1 6
            ### END INIT INFO
            run="start-stop-daemon --pidfile /run/init-\(name).pid"
            case "$1" in
            start) $run --start --oknodo --background --make-pidfile --output /var/log/init-\(name) \\
                --startas /bin/sh -- -c '\(command)' ;;
            stop) $run --stop --oknodo --retry 10 --remove-pidfile ;;
            restart) "$0" stop; "$0" start ;;
            status) $run --status || exit 3 ;;
            esac

            """, to: "/etc/init.d/\(name)")
        try host.require("chmod", "755", "/etc/init.d/\(name)")
    }

    @Test(
        "our playbooks of Bramble itself and an access point, over real SSH: machines become nodes, and a second time nothing changes",
        .timeLimit(.minutes(5)))
    func installation() throws {
        let cluster = try Cluster(names: ["n1"], others: ["n2", "n3"])
        let (control, targets) = (cluster["n1"].host, ["n2", "n3"].map { cluster.lab[$0] })
        try openSSH(cluster, and: targets)
        try control.require("strip", "-o", "/tmp/bramble", BrambleNode.builtHere)
        let built = try control.run(
            ["\(Self.source)/deploy/make-deb.sh", "/tmp/bramble", "/tmp/dist"],
            environment: [
                "SHLIBDEPS_OPTIONS": "--ignore-missing-info", "SOURCE_DATE_EPOCH": "1790000000",
                "DEB_COMPRESSION": "gzip",
            ], within: .seconds(120))
        try #require(built.succeeded, "\(built)")
        let package = try control.require("sh", "-c", "echo /tmp/dist/bramble_*.deb").filter { $0 != "\n" }
        for host in targets {
            try addService(
                "bramble", "mkdir -p /run/bramble; exec bramble start --config /etc/bramble/bramble.yaml", on: host)
        }
        // No radio is here: who opens the network writes down what it is told.
        try targets[0].require("mkdir", "-p", "/etc/NetworkManager/system-connections")
        try targets[0].write("#!/bin/sh\necho \"$@\" >>/tmp/told\n", to: "/usr/bin/nmcli")
        try targets[0].require("chmod", "755", "/usr/bin/nmcli")
        try control.write(
            """
            [machines]
            n2 ansible_host=\(targets[0].address)
            n3 ansible_host=\(targets[1].address)
            [access_point]
            n2
            [all:vars]
            ansible_user=root
            ansible_python_interpreter=/usr/bin/python3

            """, to: "/tmp/hosts")
        func play(_ names: String..., with more: [String] = []) throws -> CommandResult {
            try control.run(
                ["ansible-playbook", "-i", "/tmp/hosts"] + names.map { "\(Self.playbooks)/\($0).yaml" } + [
                    "-e", "package=\(package)", "-e", "key=\(BrambleNode.keyFile)",
                    "-e", #"{"ansible_facts": {"service_mgr": "service"}}"#,
                    // Whatever needs a package from the network is there, or is not needed here.
                    "--skip-tags", "network-manager",
                ] + more, environment: ["ANSIBLE_PIPELINING": "1"], within: .seconds(120))
        }
        let password = ["-e", "password=wireless"]
        let installed = try play("install")
        #expect(installed.succeeded, "\(installed)")
        #expect(recap(installed).values.allSatisfy { $0["changed"] ?? 0 > 3 }, "\(installed)")
        let isWhole = eventually(within: .seconds(20)) {
            Set(cluster["n1"].view().filter { $0.value == .alive }.keys) == ["n1", "n2", "n3"]
        }
        #expect(isWhole, "\(cluster["n1"].view())\n\(targets.map { $0.read("/var/log/init-bramble") ?? "" })")
        let open = try play("access-point")
        #expect(open.status == 2 && open.output.contains("give one of at least eight characters"), "\(open)")
        let first = try play("access-point", with: password)
        #expect(first.succeeded, "\(first)")
        #expect(recap(first).values.allSatisfy { $0["changed"] ?? 0 > 0 }, "\(first)")
        let network = "/etc/NetworkManager/system-connections/bramble-ap.nmconnection"
        #expect(targets[0].read(network)?.contains("psk=wireless\n") ?? false)
        #expect(targets[0].read("/tmp/told") == "connection reload\nconnection up bramble-ap\n")
        let second = try play("install", "access-point", with: password)
        #expect(second.succeeded, "\(second)")
        #expect(
            recap(second).count == 2 && recap(second).values.allSatisfy { $0["changed"] == 0 && $0["failed"] == 0 },
            "\(second.output)")
    }

    @Test("the playbook of GlusterFS is sound")
    func glusterIsSound() throws {
        let lab = try Lab(["n1"])
        let result = try lab.hosts[0].run(
            ["ansible-playbook", "--syntax-check", "-i", "localhost,", "\(Self.playbooks)/gluster.yaml"],
            within: .seconds(60))
        #expect(result.succeeded, "\(result)")
        withExtendedLifetime(lab) {}
    }

    @Test("Ansible asks our script for the inventory and reaches every node that is alive")
    func dynamic() throws {
        let cluster = try Cluster("n1", "n2")
        try openSSH(cluster)
        let control = cluster["n1"].host
        try control.require("ln", "-sf", BrambleNode.builtHere, "/usr/local/bin/bramble")
        let result = try control.run(
            [
                "ansible", "-i", "\(Self.playbooks)/bramble-inventory", "state_alive", "-m", "ping", "-e",
                "ansible_python_interpreter=/usr/bin/python3",
            ], within: .seconds(60))
        #expect(
            result.succeeded && result.output.contains("n1 | SUCCESS") && result.output.contains("n2 | SUCCESS"),
            "\(result)")
    }

    @Test("a playbook without groups, or that is no YAML, is refused before anything runs")
    func unusable() throws {
        let cluster = try Cluster("n1")
        let node = cluster["n1"]
        for (text, problem) in [
            ("- hosts: all\n  tasks: []\n", "no play of /tmp/p.yml is for a group of hosts"),
            ("- hosts: [web\n  tasks: []\n", "p.yml, line 3, column 1: flow sequence without a closing bracket"),
            ("hosts: web\n", "it should be a list of plays"),
            ("- tasks: []\n", "this play has no “hosts”"),
        ] {
            try node.host.write(text, to: "/tmp/p.yml")
            for words in [["launch", "1", "/tmp/p.yml"], ["inventory", "--for", "/tmp/p.yml"]] {
                let result = try node.cli(words)
                #expect(result.status != 0 && result.errors.contains(problem), "\(text): \(result)")
            }
        }
    }
}
