import BrambleAPI
import Glibc
import Lab

/// How much of everything.
struct EngineEffort {
    /// Of wrk, for each of the two, alternating.
    var rounds: Int
    var round: Int
    var deaths: Int
    var nodes: Int
    static let full = EngineEffort(rounds: 7, round: 4, deaths: 7, nodes: 100)
    static let quick = EngineEffort(rounds: 6, round: 2, deaths: 2, nodes: 20)
}

/// Balancers beside the same engines by hand, and the inventory of a big cluster. Each row makes a lab of its own.
struct EngineRows {
    let program: String
    let effort: EngineEffort
    let progress: (String) -> Void
    private static let byHand = "/tmp/by-hand"

    /// All but the volumes.
    func measure() throws -> [Figure] { try http() + udp() + deaths() + inventory() }

    // MARK: Balancers

    /// n1 balances, n2 and n3 are backends, and a client without a daemon.
    private func balanced(_ balancer: String, _ body: (Lab, [BrambleNode]) throws -> [Figure]) throws -> [Figure] {
        let lab = try Lab(["n1", "n2", "n3", "client"])
        defer { lab.close() }
        let nodes = lab.hosts.prefix(3).map { BrambleNode(program, on: $0) }
        try nodes[0].makeCluster("bench")
        for node in nodes.dropFirst() { try node.takeKey(of: nodes[0]) }
        for node in nodes { try node.start(["--no-discovery", "--join", lab.hosts[0].address]) }
        guard nodes.agree(alive: ["n1", "n2", "n3"], within: .seconds(30)) else {
            throw LabError("no cluster\n\(nodes[0].log)")
        }
        try DatagramLoad.addSources(to: lab["client"], reachedFrom: Array(lab.hosts.prefix(3)))
        for node in nodes.dropFirst() { try serve(node) }
        try nodes[0].apply("balancers:\n  - \(balancer)\n")
        guard eventually(within: .seconds(20), { isUp(["n2", "n3"], on: nodes[0]) }) else {
            throw LabError("the backends are not up\n\(nodes[0].log)")
        }
        return try body(lab, nodes)
    }
    private func isUp(_ names: [String], on node: BrambleNode) -> Bool {
        let all = (try? node.get("/v1/balancers", as: [BalancerInfo].self)) ?? []
        return all.first?.backends.filter { $0.state == .up }.map(\.node).sorted() == names
    }
    /// A web server on 8000, and datagrams come back on 9000.
    private func serve(_ node: BrambleNode) throws {
        try node.host.require("mkdir", "-p", Self.byHand)
        try node.host.write(
            """
            pid \(Self.byHand)/backend.pid; error_log /dev/null crit; worker_processes 1;
            events { worker_connections 4096; }
            http { access_log off; keepalive_requests 1000000;
              server { listen 8000; location / { return 200 "ok\\n"; } } }

            """, to: "\(Self.byHand)/backend.conf")
        _ = try node.host.spawn(["nginx", "-c", "\(Self.byHand)/backend.conf", "-g", "daemon off;"])
        try echo(node)
    }
    private func echo(_ node: BrambleNode) throws {
        _ = try node.host.spawn([absolute("/proc/self/exe"), "datagram-echo", "9000"])
    }
    /// nginx on the first node as a person would set it up for the same backends.
    private func startByHand(_ node: BrambleNode, _ lab: Lab, _ blocks: String) throws {
        try node.host.require("mkdir", "-p", Self.byHand)
        try node.host.write(
            """
            pid \(Self.byHand)/nginx.pid; error_log /dev/null crit; worker_processes auto; user www-data;
            worker_rlimit_nofile 131072;
            \(blocks)

            """, to: "\(Self.byHand)/nginx.conf")
        // In the background and in a session of its own, as Debian starts it, and as ours is.
        try node.host.require("nginx", "-c", "\(Self.byHand)/nginx.conf")
    }

    func http() throws -> [Figure] {
        try balanced("{name: web, listen: \":80\", protocol: http, to: 8000, nodes: [n2, n3]}") { lab, nodes in
            let servers = lab.hosts[1...2].map { "server \($0.address):8000;" }.joined(separator: " ")
            try startByHand(
                nodes[0], lab,
                """
                events { worker_connections 4096; }
                http { access_log off;
                  upstream web { \(servers) keepalive 64; }
                  server { listen 81; location / { proxy_pass http://web; proxy_http_version 1.1;
                    proxy_set_header Connection ""; proxy_set_header Host $http_host;
                    proxy_set_header X-Real-IP $remote_addr; proxy_set_header X-Forwarded-Proto $scheme;
                    proxy_set_header X-Forwarded-For $proxy_add_x_forwarded_for; } } }
                """)
            var rates: [Int: Samples] = [80: Samples(), 81: Samples()]
            var ratios = Samples()
            for round in 0..<effort.rounds {
                var pair: [Int: Double] = [:]
                // In turn, and each first as often as the other: the machine's mood is the same for both.
                for port in round % 2 == 0 ? [80, 81] : [81, 80] {
                    let run = try lab["client"].run(
                        [
                            "wrk", "-t", "1", "-c", "16", "-d", "\(effort.round)s",
                            "http://\(lab.hosts[0].address):\(port)/",
                        ],
                        within: .seconds(effort.round + 20))
                    guard let line = run.output.split(separator: "\n").first(where: { $0.hasPrefix("Requests/sec:") }),
                        let rate = line.split(separator: " ").last.flatMap({ Double($0) }),
                        !run.output.contains("Socket errors"), !run.output.contains("Non-2xx")
                    else { throw LabError("wrk: \(run)") }
                    pair[port] = rate
                    rates[port]!.add(rate)
                    progress("\(port == 80 ? "ours" : "by hand"): \(decimal(rate, 0)) requests a second")
                }
                ratios.add(pair[80]! / pair[81]!)
            }
            guard let ours = rates[80]!.percentile(0.5), let theirs = rates[81]!.percentile(0.5),
                let ratio = ratios.percentile(0.5)
            else { return [] }
            return [
                Figure(
                    "HTTP requests a second through one node, 16 connections, median of \(effort.rounds)",
                    peer: "nginx: \(decimal(theirs, 0))", bramble: decimal(ours, 0), ratio: ratio,
                    target: "≥ 0.98×", isMet: ratio >= 0.98)
            ]
        }
    }

    func udp() throws -> [Figure] {
        try balanced("{name: lora, listen: \":1700\", protocol: udp, to: 9000, nodes: [n2, n3]}") { lab, nodes in
            let servers = lab.hosts[1...2].map { "server \($0.address):9000;" }.joined(separator: " ")
            try startByHand(
                nodes[0], lab,
                """
                load_module /usr/lib/nginx/modules/ngx_stream_module.so;
                events { worker_connections 65536; }
                stream { upstream lora { \(servers) }
                  server { listen 1701 udp reuseport; proxy_pass lora; proxy_timeout 2s; } }
                """)
            /// Whether a rate passes without a loss, and how much of it the machine really sent.
            func passes(_ port: Int, _ rate: Double) throws -> (isWhole: Bool, reached: Double) {
                let run = try lab["client"].run(
                    [
                        absolute("/proc/self/exe"), "datagram-load", lab.hosts[0].address, "\(port)", "\(rate)", "2000",
                    ], within: .seconds(20))
                guard let outcome = DatagramLoad.Outcome(run.output) else { throw LabError("\(run)") }
                progress(
                    "\(port == 1700 ? "ours" : "nginx"): \(decimal(rate, 0))/s: \(outcome.sent - outcome.back) of "
                        + "\(outcome.sent) lost")
                return (outcome.back == outcome.sent, Double(outcome.sent) / 2)
            }
            // In turns, so that the machine's mood is the same for both: each goes on while it loses nothing.
            var best = [1700: 0.0, 1701: 0.0]
            var isOver: Set<Int> = []
            var rate = 4_000.0
            while isOver.count < 2, rate < 1_000_000 {
                for port in [1701, 1700] where !isOver.contains(port) {
                    var tries = 0
                    while tries < 3 {
                        let (isWhole, reached) = try passes(port, rate)
                        if isWhole {
                            best[port] = max(best[port]!, reached)
                            // The machine gives no more.
                            if reached < rate * 0.8 { isOver.insert(port) }
                            break
                        }
                        tries += 1
                    }
                    if tries == 3 { isOver.insert(port) }
                }
                rate *= 1.25
            }
            let (ours, theirs) = (best[1700]!, best[1701]!)
            return [
                Figure(
                    "most datagrams a second there and back, none lost, 1,000 sources",
                    peer: "nginx stream: \(decimal(theirs, 0))", bramble: decimal(ours, 0),
                    ratio: ours / max(theirs, 1),
                    target: "≥ 2×", isMet: ours >= 2 * theirs)
            ]
        }
    }

    /// From the moment a backend dies until the last datagram that was still sent to it.
    func deaths() throws -> [Figure] {
        try balanced("{name: lora, listen: \":1700\", protocol: udp, to: 9000, nodes: [n2, n3]}") { lab, nodes in
            var (processes, machines) = (Samples(), Samples())
            /// Seconds from a death until the last datagram that was still sent there; nil where the load never got an answer again.
            func lasts(_ kill: () throws -> Void) throws -> Double? {
                let load = try lab["client"].spawn([
                    absolute("/proc/self/exe"), "datagram-load", lab.hosts[0].address, "1700", "2000", "6000",
                ])
                pause(.seconds(2))
                let moment = monotonicSeconds()
                try kill()
                guard load.wait(.seconds(20)) != nil, let outcome = DatagramLoad.Outcome(load.output) else {
                    throw LabError("no outcome: \(load.output)")
                }
                progress("the last lost \(decimal(outcome.lastLost - moment, 2)) s after a death")
                return outcome.lastLost > moment ? outcome.lastLost - moment : nil
            }
            func isBack() throws {
                guard eventually(within: .seconds(30), { isUp(["n2", "n3"], on: nodes[0]) }) else {
                    throw LabError("n3 did not come back\n\(nodes[0].log)")
                }
            }
            for _ in 0..<effort.deaths {
                let server = try nodes[2].host.require(
                    "sh", "-c", "ss -Hlunp sport = :9000 | grep -o 'pid=[0-9]*' | cut -d= -f2")
                processes.add(try lasts { try nodes[2].host.require("kill", "-KILL", server.filter(\.isNumber)) })
                try echo(nodes[2])
                try isBack()
                machines.add(try lasts { try lab.powerOff(lab["n3"]) })
                try lab.plug(lab["n3"])
                try serve(nodes[2])
                try nodes[2].restart()
                try isBack()
            }
            func figure(_ what: String, _ samples: Samples) -> Figure {
                Figure(
                    "\(what): until nothing more is sent to it, slowest of \(effort.deaths)",
                    bramble: samples.missing > 0 ? "never" : seconds(samples.largest), target: "≤ 1 s",
                    isMet: samples.missing == 0 && samples.largest ?? .infinity <= 1)
            }
            return [
                figure("a backend's UDP server is killed", processes), figure("a backend's node loses power", machines),
            ]
        }
    }

    // MARK: Inventory

    func inventory() throws -> [Figure] {
        let lab = try Lab((1...effort.nodes).map { "n\($0)" })
        defer { lab.close() }
        let nodes = lab.hosts.map { BrambleNode(program, on: $0) }
        try nodes[0].makeCluster("bench")
        for node in nodes.dropFirst() { try node.takeKey(of: nodes[0]) }
        try nodes[0].start(["--no-discovery", "--profile", "calm"])
        // A few at a time, and then they are stopped: all of them would share this machine's processors.
        defer { for node in nodes.dropFirst() { node.host.thaw() } }
        for first in stride(from: 1, to: nodes.count, by: 10) {
            let group = nodes[first..<min(first + 10, nodes.count)]
            for node in group {
                try node.start(["--no-discovery", "--join", lab.hosts[0].address, "--profile", "calm"])
            }
            let wanted = first + group.count
            guard
                eventually(
                    within: .seconds(60), every: .milliseconds(200),
                    { nodes[0].view().count >= wanted && group.allSatisfy { nodes[0].sees($0.name, as: .alive) } })
            else { throw LabError("\(nodes[0].view().count) of \(wanted) nodes are known after 60 s") }
            for node in group { node.host.freeze() }
        }
        progress("\(effort.nodes) nodes are members")
        var samples = Samples()
        for _ in 0..<21 {
            let start = monotonicSeconds()
            let run = try nodes[0].cli("inventory", "--list")
            samples.add(monotonicSeconds() - start)
            guard run.succeeded, run.output.contains("\"n\(effort.nodes)\"") else { throw LabError("\(run)") }
        }
        progress("inventory --list: \(milliseconds(samples.percentile(0.5)))")
        return [
            Figure(
                "`bramble inventory --list` with \(effort.nodes) nodes, median of 21",
                bramble: milliseconds(samples.percentile(0.5)), target: "≤ 50 ms",
                isMet: samples.percentile(0.5) ?? .infinity <= 0.05)
        ]
    }
}
