import BrambleAPI

/// A small cluster to print. Its moments are near `now`, 2026-11-21T12:00:00Z.
enum Example {
    static let now = 1_795_262_400.0

    static let nodes = [
        node(
            "serv1", 1, .alive, phi: nil, since: "2026-11-18T09:30:00.000Z", isSelf: true, cpu: 0.071, temperature: 48.3
        ),
        node("serv2", 2, .suspect, phi: 5.62, since: "2026-11-21T11:59:58.500Z", cpu: 0.93, temperature: nil),
        node("a-node-with-a-long-name-in-the-cellar", 3, .down, phi: 137.2, since: "2026-11-21T09:53:00Z", cpu: nil),
        node("serv4", 4, .alive, phi: 0.213, since: "2026-11-21T11:20:00.000Z", cpu: 0, temperature: -4.5),
        node("serv5", 5, .left, phi: nil, since: "2026-11-20T08:00:00.000Z", cpu: nil),
    ]

    private static func node(
        _ name: String, _ number: Int, _ state: NodeState, phi: Double?, since: String, isSelf: Bool = false,
        cpu: Double?, temperature: Double? = nil
    ) -> NodeInfo {
        let address = number == 4 ? "fd00:1234:5678::4" : "192.168.1.1\(number)"
        return NodeInfo(
            name: name, id: "0\(number)23456789abcdef0123456789abcdef", address: address, port: 7771,
            addresses: [address], state: state, phi: phi, threshold: 8, incarnation: UInt64(number), since: since,
            isSelf: isSelf, version: "0.1.0",
            load: cpu.map {
                NodeLoad(cpu: $0, memory: 0.4, load1: 0.1, load5: 0.2, load15: 0.3, temperature: temperature)
            })
    }

    static let status = ClusterStatus(
        cluster: "home", node: "serv1", state: .member, nodes: .init(alive: 2, down: 1), guarantee: "best-effort",
        uptimeSeconds: 7512.5, id: "0123456789abcdef0123456789abcdef", code: "04hm-asw9-ng6y", version: "0.1.0",
        notes: [])

    static let statusJSON = #"""
        {"cluster":"home","node":"serv1","state":"member","nodes":{"alive":2,"down":1},"guarantee":"best-effort",
        "uptimeSeconds":7512.5,"id":"0123456789abcdef0123456789abcdef","code":"04hm-asw9-ng6y","version":"0.1.0","notes":[],
        "somethingOfANewerVersion":1}
        """#

    static let events = [
        event(1041, "2026-11-20T23:59:59.999Z", "joined", "serv3"),
        event(
            1042, "2026-11-21T09:52:59.612Z", "suspect", "serv3", by: ["serv1"],
            ["phi": .number(8.04), "silenceMs": .number(405), "unansweredProbes": .integer(2)]),
        event(
            1043, "2026-11-21T09:53:00.000Z", "down", "serv3", by: ["serv1", "serv2"],
            ["accusers": .integer(2), "confirmed": .bool(true), "phi": .number(11.3)],
            "serv3 is down: 2 of 3 observers heard nothing for up to 812 ms (φ 11.3), 2 had to agree, none still had contact"
        ),
        event(
            1044, "2026-11-21T10:00:00.000Z", "waiting", "evil\u{1B}[2J\nname",
            ["address": .string("10.0.0.9:7771\u{7}")]),
        event(1045, "2026-11-21T11:20:00.250Z", "stalled", "serv1", ["pauseMs": .number(1503), "note": .null]),
    ]
    private static func event(
        _ id: UInt64, _ at: String, _ type: String, _ subject: String, by: [String] = [],
        _ detail: [String: JSONValue] = [:], _ text: String = ""
    ) -> Event {
        Event(
            id: id, at: at, monotonicMs: Double(id) * 1000.5, type: type, subject: subject, by: by, detail: detail,
            text: text)
    }

    static let why = Explanation(
        subject: "serv3",
        answer:
            "serv3 is down since 2026-11-21T09:53:00.000Z: 2 of 3 observers heard nothing for up to 812 ms (φ 11.3), "
            + "2 had to agree, none still had contact",
        because: [
            .init(
                at: "2026-11-21T09:53:00.000Z", text: "serv1 heard nothing for 812 ms (φ 11.3)",
                figures: ["phi": .number(11.3), "silenceMs": .number(812), "unansweredProbes": .integer(4)]),
            .init(at: "2026-11-20T23:59:59.999Z", text: "joined", figures: [:]),
        ])

    static let waiting = [
        WaitingMachine(
            name: "serv6", id: "aa23456789abcdef0123456789abcdef", code: "n8tb-cf24-rqzf", address: "192.168.1.16",
            port: 7771,
            reason: .noKey, since: "2026-11-21T11:58:00.000Z"),
        WaitingMachine(
            name: "serv7", id: "bb23456789abcdef0123456789abcdef", code: "qctb-cf24-rqzf", address: "192.168.1.17",
            port: 7771,
            reason: .approval, since: "2026-11-21T11:00:00.000Z"),
    ]

    /// Rows of every sort of value for a read, one changed row for a write, a list for several statements.
    static func sqlAnswer(_ request: String) -> String {
        let statements = request.ranges(of: #""statement":"#).count
        let rows = #"""
            {"columns":["name","celsius","n","seal"],"rows":[["attic",21.5,1,null],["cellar – \u001b[2J",-3.0,9007199254740993,
            {"blob":"3q2+7w=="}],["\#(String(repeating: "long ", count: 40))",1e-7,-5,{"blob":"AAECAwQFBgcICQ=="}]],
            "changed":0,"truncated":\#(request.contains("many"))}
            """#
        if request.contains("select") && statements == 1 {
            return rows.dropLast() + #","durability":null,"note":"","token":"t1"}"#
        }
        let note = request.contains("alone") ? "no other node could confirm it: it is on this node's disk only" : ""
        let reached = note.isEmpty ? "one" : "local"
        let results = Array(repeating: #"{"columns":[],"rows":[],"changed":1,"truncated":false}"#, count: statements)
        return
            #"{"results":[\#(results.joined(separator: ","))],"changed":\#(statements),"durability":"\#(reached)","note":"\#(note)","token":"t2"}"#
    }

    static let services = [
        ServiceInfo(
            name: "files", state: .running, node: "serv1", epoch: 7, addresses: ["192.168.1.50/24"],
            guarantee: .majority, since: "2026-11-21T09:53:00.000Z", run: "systemd:smbd", lastGapMs: 412.3,
            mirrors: ["samba"]),
        ServiceInfo(
            name: "shop", state: .blocked, node: nil, epoch: 2, addresses: ["192.168.1.51/24", "fd77::51/64"],
            guarantee: .bestEffort, since: "2026-11-21T11:59:00.000Z", run: "exec:/usr/bin/shop -f",
            reason: "the address 192.168.1.51 is in use by 02:00:00:00:00:09"),
    ]
    static let mirrors = [
        MirrorInfo(
            name: "samba", from: "serv1", to: ["serv2", "serv4"], lastRun: "2026-11-21T11:59:48.000Z",
            behindSeconds: 12, files: 1204, bytes: 48_200_000, state: .equal, conflicts: 1)
    ]
    static let parked = [
        ParkedFile(
            id: "p1", mirror: "samba", path: "/var/lib/samba/passdb.tdb\u{1B}[2J", node: "serv2",
            at: "2026-11-21T10:00:00.000Z", changed: "2026-11-20T22:10:00.000Z", bytes: 421_888)
    ]

    static let tables = [
        TableInfo(
            name: "sensors",
            columns: [
                .init(name: "name", type: "TEXT", key: 1, isRequired: true), .init(name: "celsius", type: "REAL"),
                .init(name: "n", type: "COUNTER", isCounter: true),
            ], rows: 3),
        TableInfo(name: "log", columns: [.init(name: "id", type: "INTEGER", key: 1)], rows: nil),
        TableInfo(
            name: "bramble_conflicts", columns: [.init(name: "id", type: "INTEGER", key: 1)], rows: 2, isSystem: true),
    ]

    static let database = DatabaseStatus(
        state: .open, bytes: 1_331_200, epoch: "1", tables: 2, conflicts: 2,
        replicas: [
            ReplicaStatus(node: "serv1", isSelf: true, state: .equal, lastSync: nil),
            ReplicaStatus(
                node: "a-node-with-a-long-name-in-the-cellar", isSelf: false, state: .unreachable, missing: 1203,
                behindSeconds: 7620, lastSync: "2026-11-21T09:53:00.000Z"),
            ReplicaStatus(
                node: "serv2", isSelf: false, state: .behind, missing: 12, behindSeconds: 0.42,
                lastSync: "2026-11-21T11:59:58.000Z"),
            ReplicaStatus(
                node: "serv4", isSelf: false, state: .snapshot, missing: 40, behindSeconds: 3, lastSync: nil,
                snapshot: .init(direction: .sending, bytes: 480_000, totalBytes: 1_331_200)),
            ReplicaStatus(
                node: "serv7", isSelf: false, state: .quarantined, lastSync: nil,
                note: "its clock is 10 years ahead"),
        ],
        notes: [
            "3 writes of serv7 are held back, the first from 2036-11-21T11:59:00.000Z: set the clock there; if they must count: "
                + "bramble database release serv7"
        ],
        origins: [
            OriginStatus(origin: "00c0ffee00c0ffee", node: "serv1", state: .taken, taken: 1204),
            OriginStatus(origin: "1badcafe1badcafe", node: "serv4", state: .unreadable, taken: 17, waiting: 1),
            OriginStatus(
                origin: "beeb8da1658eec67", node: "serv7", state: .held, taken: 1, waiting: 3,
                at: "2036-11-21T11:59:00.000Z"),
        ])

    static let conflicts = [
        Conflict(
            id: "2", at: "2026-11-21T11:30:00.000Z", table: "sensors", key: ["name": .text("attic")],
            column: "celsius",
            kept: .init(value: .real(21.5), action: "set", node: "serv2", at: "2026-11-21T11:29:58.120Z"),
            lost: .init(value: .real(20), action: "set", node: "serv1", at: "2026-11-21T11:29:57.040Z")),
        Conflict(
            id: "1", at: "2026-11-20T11:30:00.000Z", table: "log", key: ["id": .integer(7)], column: nil,
            kept: .init(value: .null, action: "deleted", node: "serv1", at: "2026-11-20T11:29:58.120Z"),
            lost: .init(
                value: .text("evil\u{1B}[2J\nvalue"), action: "set", node: "serv2", at: "2026-11-20T11:29:57.040Z")),
    ]

    static let applied = ApplyAnswer(
        changes: [
            DesiredDifference(
                change: .added, part: "services", name: "web",
                details: ["addresses: [192.168.1.50/24]", "run: systemd:nginx"]),
            DesiredDifference(change: .changed, part: "services", name: "files", details: ["every: (default) → 10s"]),
            DesiredDifference(
                change: .changed, part: "reach", name: "reach", details: ["reach: [] → [192.168.1.1]"]),
        ], applied: true, notes: ["web prefers serv9, which is not a node of this cluster yet"])
    static let exported = DesiredDocument(
        document: "services:\n  - name: web\n    addresses: [192.168.1.50/24]\n    run: systemd:nginx\n",
        unreadable: ["services/odd: “rocket:moon” is nothing that can be run; write systemd:UNIT"])

    static let doctor = [
        DoctorCheck(check: "cluster key", state: .ok, text: "only root can read it", remedy: ""),
        DoctorCheck(
            check: "http", state: .warn,
            text: "the dashboard speaks plain HTTP: whoever listens on the network reads passwords and tokens",
            remedy: "set tls: self in /etc/bramble/bramble.yaml, then: systemctl restart bramble"),
        DoctorCheck(
            check: "clock", state: .fail, text: "the clock is 3 years off", remedy: "set it, or install chrony"),
    ]
}
