import BrambleAPI
import Glibc
import Lab

/// What keeps one address on one of two hosts, started and asked in the same way whichever it is.
protocol AddressKeeper: AnyObject {
    /// Makes it run on two hosts and returns when one of them has the address.
    func start(on hosts: [Host], addresses: [String]) throws
    /// Stops what decides, but leaves the machine as it is: what an operator's SIGSTOP does.
    func freeze(_ host: Host) throws
    /// As an operator moves the address away from this host.
    func move(from host: Host) throws
    /// Names of its processes, for its memory.
    var processes: [String] { get }
}

extension AddressKeeper {
    /// Of all its processes on a host, by their names; pages of a file that several of them have count once. Unit: MiB.
    func memory(of host: Host) throws -> Double {
        let names = processes.map { "^\($0)" }.joined(separator: "|")
        // Of each mapping: what is its process's own, and what is the file's (proc(5), /proc/PID/smaps).
        let script = #"""
            own=$(readlink /proc/self/ns/net)
            for p in /proc/[0-9]*; do
                [ "$(readlink $p/ns/net 2>/dev/null)" = "$own" ] || continue
                grep -qsE '\#(names)' $p/comm && cat $p/smaps
            done | awk '
                /^[0-9a-f]+-[0-9a-f]+ / { place = $6 ~ "^/" ? $6 " " $3 : "" }
                $1 == "Rss:" { resident = $2 }
                $1 == "Anonymous:" {
                    rest = resident - $2
                    sum += $2
                    if (place == "") sum += rest
                    else if (rest > file[place]) file[place] = rest
                }
                END { for (place in file) sum += file[place]; print sum + 0 }'
            """#
        return (Double(try host.require("sh", "-c", script).split(separator: "\n").first ?? "") ?? 0) / 1024
    }
}

/// Bramble with its defaults: two nodes, a reach list, services that are an address each.
final class BrambleKeeper: AddressKeeper {
    private let program: String
    private let reach: String
    private(set) var nodes: [BrambleNode] = []
    let processes = ["bramble"]

    init(program: String, reach: String) {
        self.program = program
        self.reach = reach
    }
    func start(on hosts: [Host], addresses: [String]) throws {
        nodes = hosts.map { BrambleNode(program, on: $0) }
        try nodes[0].makeCluster("bench")
        try nodes[1].takeKey(of: nodes[0])
        for node in nodes { try node.start() }
        guard nodes.agree(alive: hosts.map(\.name), within: .seconds(30)) else {
            throw LabError("two nodes did not meet\n\(nodes[0].log)")
        }
        let services = addresses.enumerated().map { "  - {name: s\($0.offset), addresses: [\($0.element)/24]}\n" }
        try nodes[0].apply("reach: [\(reach)]\nservices:\n" + services.joined())
        let isThere = eventually(within: .seconds(60), every: .milliseconds(50)) {
            nodes.allSatisfy { node in
                let all = (try? node.services()) ?? []
                return all.count == addresses.count && all.allSatisfy { $0.state == .running }
            }
        }
        guard isThere else { throw LabError("the services do not run\n\(nodes[0].log)") }
    }
    private func node(_ host: Host) -> BrambleNode { nodes.first { $0.host === host } ?? nodes[0] }
    func freeze(_ host: Host) throws { node(host).process?.freeze() }
    func move(from host: Host) throws {
        let answer = try node(host).ask("POST", "/v1/services/s0/move", body: "{}", within: .seconds(50))
        guard answer.status == 200 else { throw LabError("move: \(answer.text)") }
    }
}

/// keepalived as Debian packages it, one VRRP instance for each address.
final class Keepalived: AddressKeeper {
    private let interval: Double
    private var daemons: [String: LabProcess] = [:]
    let processes = ["keepalived"]
    static let isInstalled = access("/usr/sbin/keepalived", X_OK) == 0

    /// - Parameter interval: advert_int, seconds.
    init(interval: Double) { self.interval = interval }

    func start(on hosts: [Host], addresses: [String]) throws {
        for (place, host) in hosts.enumerated() {
            let instances = addresses.enumerated().map { number, address in
                """
                vrrp_instance v\(number) {
                    state BACKUP
                    interface eth0
                    virtual_router_id \(51 + number)
                    priority \(150 - 50 * place)
                    advert_int \(interval)
                    virtual_ipaddress {
                        \(address)/24
                    }
                }

                """
            }
            try host.write("global_defs {\n    vrrp_version 3\n}\n" + instances.joined(), to: "/etc/keepalived.conf")
            daemons[host.name] = try host.spawn([
                "keepalived", "--dont-fork", "--log-console", "--use-file", "/etc/keepalived.conf", "--pid",
                "/run/ka.pid", "--vrrp_pid", "/run/ka-vrrp.pid", "--vrrp",
            ])
        }
    }
    /// The daemon and its child, which does the work.
    func freeze(_ host: Host) throws {
        for file in ["/run/ka.pid", "/run/ka-vrrp.pid"] { try host.require("sh", "-c", "kill -STOP $(cat \(file))") }
    }
    func move(from host: Host) throws { daemons[host.name]?.signal(SIGTERM) }
}

/// corosync and pacemaker as Debian packages them, with IPaddr2, without fencing, as two nodes.
final class Pacemaker: AddressKeeper {
    /// Milliseconds.
    private let token: Int
    private var daemons: [String: [LabProcess]] = [:]
    let processes = ["corosync", "pacemaker", "pengine", "crmd", "cib", "stonithd", "attrd", "lrmd"]
    static let isInstalled =
        access("/usr/sbin/corosync", X_OK) == 0 && access("/usr/sbin/pacemakerd", X_OK) == 0
        && access("/usr/lib/ocf/resource.d/heartbeat/IPaddr2", X_OK) == 0

    init(token: Int) { self.token = token }

    func start(on hosts: [Host], addresses: [String]) throws {
        let list = hosts.enumerated().map { place, host in
            "    node {\n        ring0_addr: \(host.address)\n        name: \(host.name)\n        nodeid: \(place + 1)\n    }\n"
        }
        let configuration = """
            totem {
                version: 2
                cluster_name: bench
                transport: knet
                crypto_cipher: none
                crypto_hash: none
                token: \(token)
                consensus: \(token * 6 / 5)
            }
            nodelist {
            \(list.joined())}
            quorum {
                provider: corosync_votequorum
                two_node: 1
                wait_for_all: 0
            }
            logging {
                to_stderr: yes
                to_syslog: no
            }

            """
        for host in hosts {
            try host.require(
                "sh", "-c",
                "mkdir -p /etc/corosync /run/crm /var/lib/corosync && chown hacluster:haclient /run/crm && chmod 750 /run/crm"
            )
            try host.write(configuration, to: "/etc/corosync/corosync.conf")
            let corosync = try host.spawn(["corosync", "-f"])
            guard eventually(within: .seconds(20), { (try? host.run("corosync-cfgtool", "-s"))?.succeeded == true })
            else { throw LabError("corosync does not start: \(corosync.output)") }
            daemons[host.name] = [corosync, try host.spawn(["pacemakerd"])]
        }
        let isFormed = eventually(within: .seconds(120), every: .milliseconds(500)) {
            let nodes = (try? host(hosts, "crm_mon", "-1"))?.output ?? ""
            return hosts.allSatisfy { nodes.contains("Online: [") && nodes.contains($0.name) }
                && nodes.contains("partition")
                && !nodes.contains("OFFLINE") && !nodes.contains("UNCLEAN")
        }
        guard isFormed else {
            throw LabError("pacemaker does not form a cluster: \(daemons[hosts[0].name]?[1].output ?? "")")
        }
        for (name, value) in [("stonith-enabled", "false"), ("no-quorum-policy", "ignore")] {
            try hosts[0].require("crm_attribute", "--type", "crm_config", "--name", name, "--update", value)
        }
        let resources = addresses.enumerated().map { number, address in
            """
            <primitive id="ip\(number)" class="ocf" provider="heartbeat" type="IPaddr2">
              <instance_attributes id="ip\(number)-a">
                <nvpair id="ip\(number)-i" name="ip" value="\(address)"/>
                <nvpair id="ip\(number)-m" name="cidr_netmask" value="24"/>
                <nvpair id="ip\(number)-n" name="nic" value="eth0"/>
              </instance_attributes>
            </primitive>
            """
        }
        for resource in resources {
            try hosts[0].require("cibadmin", "--create", "--scope", "resources", "--xml-text", resource)
        }
    }
    private func host(_ hosts: [Host], _ words: String...) throws -> CommandResult { try hosts[0].run(words) }

    /// What decides: corosync and pacemaker's daemons.
    func freeze(_ host: Host) throws {
        let names = processes.map { "^\($0)" }.joined(separator: "|")
        try host.require(
            "sh", "-c",
            "own=$(readlink /proc/self/ns/net); for p in /proc/[0-9]*; do "
                + "[ \"$(readlink $p/ns/net 2>/dev/null)\" = \"$own\" ] && grep -qsE '\(names)' $p/comm && "
                + "kill -STOP ${p#/proc/}; done; true")
    }
    func move(from host: Host) throws {
        try host.require("crm_resource", "--resource", "ip0", "--ban", "--node", host.name)
    }
}

/// One line of the table of failovers.
struct FailoverFigure {
    var what: String
    /// One for each column: keepalived 1 s, 0.1 s, pacemaker's default, tuned.
    var peers: [String]
    var bramble: String
    var target: String
    var isMet: Bool

    var line: String {
        "| \(what) | \(peers.joined(separator: " | ")) | \(bramble) | \(target) | \(isMet ? "yes" : "**no**") |"
    }
    static let heads = ["keepalived 1 s", "keepalived 0.1 s", "pacemaker default", "pacemaker tuned"]
}

/// An address moves from one of two hosts to the other, and a third one asks for it every 10 ms.
struct FailoverRows {
    let program: String
    let runs: Int
    let progress: (String) -> Void
    private static let address = "10.77.0.50"
    private static let port: UInt16 = 7000
    /// Answers from every address of its host, whoever gives it one.
    private static let echo = """
        import socket
        udp = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
        udp.bind(("0.0.0.0", \(port)))
        name = socket.gethostname().encode()
        while True:
            data, peer = udp.recvfrom(2048)
            udp.sendto(data + b" " + name, peer)

        """

    private enum Event: String, CaseIterable {
        case power = "port down and SIGKILL, median of"
        case freeze = "SIGSTOP of the holder's daemon, median of"
        case move = "planned move, median of"
    }
    private struct Outcome {
        /// Seconds without an answer.
        var gap: Double?
        /// Samples that two hosts answered.
        var doubles: Int
    }

    private func makers(_ reach: String) -> [(name: String, make: () -> (any AddressKeeper)?)] {
        let keepalived: (Double) -> (any AddressKeeper)? = { Keepalived.isInstalled ? Keepalived(interval: $0) : nil }
        let pacemaker: (Int) -> (any AddressKeeper)? = { Pacemaker.isInstalled ? Pacemaker(token: $0) : nil }
        return [
            (FailoverFigure.heads[0], { keepalived(1) }), (FailoverFigure.heads[1], { keepalived(0.1) }),
            (FailoverFigure.heads[2], { pacemaker(3000) }), (FailoverFigure.heads[3], { pacemaker(300) }),
            ("Bramble", { BrambleKeeper(program: program, reach: reach) }),
        ]
    }

    /// - Parameter only: `keepalived`, `pacemaker` or `bramble`: to tune it.
    func measure(only: String?) throws -> [FailoverFigure] {
        var rows: [FailoverFigure] = []
        for event in Event.allCases {
            var texts: [String] = []
            var own: (gaps: Samples, doubles: Int) = (Samples(), 0)
            for (name, make) in makers("10.77.0.3") {
                guard only.map({ name.lowercased().hasPrefix($0) }) ?? true else {
                    texts.append("")
                    continue
                }
                var gaps = Samples()
                var doubled = 0
                var isThere = true
                for run in 1...runs {
                    guard let outcome = try once(event, make) else {
                        isThere = false
                        break
                    }
                    gaps.add(outcome.gap)
                    if outcome.doubles > 0 { doubled += 1 }
                    progress(
                        "\(name): \(event.rawValue) \(run): \(seconds(outcome.gap)), \(outcome.doubles) samples with two"
                    )
                }
                guard isThere else {
                    texts.append("not installed")
                    continue
                }
                if name == "Bramble" { own = (gaps, doubled) }
                texts.append(Self.text(gaps, doubled, runs))
            }
            let limit = [Event.power: 0.5, .freeze: 0.6, .move: 0.06][event]!
            let median = own.gaps.missing > 0 ? nil : own.gaps.percentile(0.5)
            rows.append(
                FailoverFigure(
                    what: "\(event.rawValue) \(runs)", peers: Array(texts.dropLast()), bramble: texts.last ?? "",
                    target: "≤ \(decimal(limit * 1000, 0)) ms, never two",
                    isMet: median.map { $0 <= limit } ?? false && own.doubles == 0))
        }
        rows.append(try memory(only: only))
        return rows
    }

    private static func text(_ gaps: Samples, _ doubled: Int, _ runs: Int) -> String {
        let median = gaps.missing * 2 > runs ? "never" : milliseconds(gaps.percentile(0.5))
        return median + (doubled > 0 ? "; two at once in \(doubled) of \(runs)" : "")
    }

    /// Nil where it is not installed.
    private func once(_ event: Event, _ make: () -> (any AddressKeeper)?) throws -> Outcome? {
        guard let keeper = make() else { return nil }
        let lab = try Lab(["n1", "n2", "client"])
        defer { lab.close() }
        let hosts = Array(lab.hosts.prefix(2))
        for host in hosts {
            try host.write(Self.echo, to: "/usr/local/bin/echo")
            _ = try host.spawn(["python3", "-S", "/usr/local/bin/echo"])
        }
        try keeper.start(on: hosts, addresses: [Self.address])
        let watch = try AddressWatch(Self.address, port: Self.port, from: lab["client"])
        // Who has it, once it has been the same one for two seconds.
        let found = eventually(within: .seconds(60), every: .milliseconds(100)) { () -> String? in
            let recent = watch.samples.suffix(200)
            guard recent.count == 200, let first = recent.first?.nodes.first,
                recent.dropLast(10).allSatisfy({ $0.nodes == [first] })
            else { return nil }
            return first
        }
        guard let found, let holder = hosts.first(where: { $0.name == found }) else {
            _ = watch.stop()
            throw LabError("nobody answers at \(Self.address)")
        }
        // Not in step with anybody's heartbeat.
        pause(.milliseconds(Int64.random(in: 0...1000)))
        let moment = monotonicSeconds()
        switch event {
        case .power: try lab.powerOff(holder)
        case .freeze: try keeper.freeze(holder)
        case .move: try keeper.move(from: holder)
        }
        let isTaken = eventually(within: .seconds(15), every: .milliseconds(50)) {
            watch.samples.contains { $0.at > moment && !$0.nodes.isEmpty && $0.nodes != [found] }
        }
        pause(.seconds(1))
        let samples = watch.stop().filter { $0.at >= moment - 1 }
        return Outcome(gap: isTaken ? gap(samples, from: found, since: moment) : nil, doubles: samples.doubles.count)
    }

    /// From the event until the other one answers for the first time: the measure that is fair to those who go on answering
    /// on both sides. What was still answered by the holder before it fell silent does not count as away.
    private func gap(_ samples: [AddressWatch.Sample], from holder: String, since moment: Double) -> Double? {
        guard let taken = samples.first(where: { $0.at > moment && !$0.nodes.subtracting([holder]).isEmpty })?.at
        else { return nil }
        let last = samples.last { $0.at < taken && $0.nodes.contains(holder) }?.at ?? moment
        return max(0, taken - max(last, moment))
    }

    /// With ten addresses, which is ten services.
    private func memory(only: String?) throws -> FailoverFigure {
        var texts: [String] = []
        var own: Double?
        for (name, make) in makers("10.77.0.3") {
            guard only.map({ name.lowercased().hasPrefix($0) }) ?? true else {
                texts.append("")
                continue
            }
            guard let keeper = make() else {
                texts.append("not installed")
                continue
            }
            let lab = try Lab(["n1", "n2", "client"])
            defer { lab.close() }
            let hosts = Array(lab.hosts.prefix(2))
            try keeper.start(on: hosts, addresses: (50..<60).map { "10.77.0.\($0)" })
            pause(.seconds(15))
            let largest = try hosts.map { try keeper.memory(of: $0) }.max() ?? 0
            progress("\(name): memory with ten services: \(mebibytes(largest))")
            if name == "Bramble" { own = largest }
            texts.append(mebibytes(largest))
        }
        return FailoverFigure(
            what: "memory per node with ten services (all its processes; what they share counts once)",
            peers: Array(texts.dropLast()),
            bramble: texts.last ?? "", target: "≤ 30 MiB", isMet: own.map { $0 <= 30 } ?? false)
    }
}
