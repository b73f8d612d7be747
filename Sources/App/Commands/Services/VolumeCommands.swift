import BrambleAPI
import Primitives

/// `bramble volume …`: file systems over several nodes, by GlusterFS.
enum VolumeCommands {
    private static let word = Kind<String>(placeholder: "NAME", allowed: ServiceName.rule) {
        ServiceName($0)?.description
    }
    private static let volume = Argument("NAME", word, "The volume's name")
    private static let maybeVolume = Argument("NAME", word, required: false, "The volume's name; all without it")

    private static let replica = Option(
        "replica", .integer("COPIES", in: 2...20), "Keep so many copies of each file, each on another node (3)")
    private static let arbiter = Option(
        "arbiter", .integer("1", in: 0...1),
        "1: the third of three bricks keeps names alone, and decides between two copies")
    private static let disperse = Option(
        "disperse", .integer("BRICKS", in: 3...20), "Instead of copies: parts of each file on so many nodes")
    private static let redundancy = Option(
        "redundancy", .integer("BRICKS", in: 1...8), "With --disperse: so many of them may be lost (1)")
    private static let path = Option(
        "path", .text("DIR", allowed: "a whole path"),
        "The directory of the brick on each node, on a disk of its own (/data/bricks/NAME)")
    private static let mount = Option(
        "mount", .text("DIR", allowed: "a whole path"), "Where it is mounted on every node (/bramble/NAME)")
    private static let on = Option(
        "on", Kind<String>.node, repeats: true,
        "A node with a brick; repeat it for more; without it they are chosen from those that are alive")
    private static let force = Flag("force", "Allow bricks on the root file system, which a full volume would fill up")

    static let create = Command(
        asking: "create", "Make a volume, and mount it on every node",
        details: """
            Every node that would have a brick is asked first; where something stands in the way, nothing is begun. It needs \
            glusterfs-server on nodes with a brick, and glusterfs-client and FUSE on all. Whatever has begun goes on by \
            itself, also when a node dies in the middle of it.
            """,
        section: .change,
        accepts: [volume, replica, arbiter, disperse, redundancy, path, mount, on, force, Shared.json],
        examples: [
            "bramble volume create shared --replica 3 --path /data/bricks/shared",
            "bramble volume create films --disperse 5 --redundancy 2",
        ]
    ) { input, console, api in
        var request = VolumeRequest(
            name: input[required: volume], replica: input[replica], arbiter: input[arbiter], disperse: input[disperse],
            redundancy: input[redundancy], path: input[path], mount: input[mount])
        if !input[all: on].isEmpty { request.nodes = input[all: on] }
        if input[force] { request.force = true }
        let made = try await api.createVolume(request)
        if input[Shared.json] { return try console.printJSON(made) }
        console.print("\(made.name) is mounted at \(made.mount) on \(made.mountedOn.joined(separator: ", ")).")
        for missing in made.notMounted {
            console.note("not on \(missing.node): \(Text.oneLine(missing.reason))")
        }
    }

    static let list = Command(
        asking: "list", "List the volumes", section: .look, accepts: [Shared.json]
    ) { input, console, api in
        let volumes = try await api.volumes()
        if input[Shared.json] { return try console.printJSON(volumes) }
        guard !volumes.isEmpty else {
            return console.say("There is no volume. Make one: bramble volume create --help")
        }
        var table = Table(columns: [
            .init(title: "NAME"), .init(title: "STATE"), .init(title: "TYPE"), .init(title: "BRICKS", alignRight: true),
            .init(title: "TO HEAL", alignRight: true), .init(title: "FREE", alignRight: true, dropOrder: 1),
            .init(title: "MOUNTED ON", dropOrder: 2),
        ])
        table.rows = volumes.map { volume in
            [
                .init(volume.name, .strong), .init(volume.state.rawValue, colour(volume.state)), .init(type(volume)),
                .init("\(volume.bricks.count(where: \.online))/\(volume.bricks.count)"), .init("\(volume.toHeal)"),
                .init(room(volume) ?? ""), .init(volume.mountedOn.joined(separator: ", ")),
            ]
        }
        console.terminal.write(table.rendered(for: console.terminal))
        for volume in volumes where !volume.reason.isEmpty {
            console.say("\(volume.name): \(Text.oneLine(volume.reason))")
        }
    }

    static let status = Command(
        asking: "status", "Show each brick of a volume, its mounts, and what is under way", section: .look,
        accepts: [maybeVolume, Shared.json], examples: ["bramble volume status shared"]
    ) { input, console, api in
        let all = try await api.volumes()
        let volumes = input[maybeVolume].map { name in all.filter { $0.name == name } } ?? all
        if let name = input[maybeVolume], volumes.isEmpty {
            throw CommandFailure(
                problem: "no volume is called “\(name)”",
                remedy: Suggestion.sentence(Suggestion.nearest(to: name, among: all.map(\.name)))
                    ?? "see which ones there are: bramble volume list")
        }
        if input[Shared.json] { return try console.printJSON(volumes) }
        if volumes.isEmpty { return console.say("There is no volume. Make one: bramble volume create --help") }
        for volume in volumes { show(volume, console) }
    }

    private static func show(_ volume: VolumeInfo, _ console: Console) {
        let paint = console.terminal.paint
        console.print(
            paint(volume.name, .strong) + "  " + paint(volume.state.rawValue, colour(volume.state))
                + "  \(type(volume)), at \(volume.mount)")
        for text in [volume.reason, volume.progress, volume.offer] where !text.isEmpty {
            console.say("  " + Text.oneLine(text))
        }
        let width = volume.bricks.map(\.node.count).max() ?? 0
        for brick in volume.bricks {
            let state = paint(Text.padded(brick.online ? "online" : "offline", to: 8), brick.online ? .green : .red)
            let kind = brick.arbiter ? "  arbiter" : ""
            let heal = brick.toHeal > 0 ? "  \(brick.toHeal) to heal" : ""
            let free = brick.totalBytes > 0 ? "  \(Text.bytes(brick.freeBytes)) free" : ""
            let mounted = volume.mountedOn.contains(brick.node) ? "  mounted" : ""
            console.print(
                "  \(state)  \(Text.padded(Text.oneLine(brick.node), to: width))  \(Text.oneLine(brick.path))\(kind)\(heal)\(free)\(mounted)"
            )
        }
        let others = volume.mountedOn.filter { name in !volume.bricks.contains { $0.node == name } }
        if !others.isEmpty { console.print("  also mounted on \(others.joined(separator: ", "))") }
        for missing in volume.notMounted {
            let reason = missing.reason.isEmpty ? "" : ": \(Text.oneLine(missing.reason))"
            console.print("  not mounted on \(Text.oneLine(missing.node))\(reason)")
        }
    }

    static let heal = Command(
        asking: "heal", "Push GlusterFS to heal now what it would heal by itself", section: .change,
        accepts: [volume, Shared.json], examples: ["bramble volume heal shared"]
    ) { input, console, api in
        try console.report(try await api.healVolume(input[required: volume]), input)
    }

    static let delete = Command(
        asking: "delete", "Unmount and delete a volume; its files stay in the bricks", section: .change,
        accepts: [volume, Shared.yes, Shared.json], examples: ["bramble volume delete shared"]
    ) { input, console, api in
        let name = input[required: volume]
        try console.confirm(
            [
                "“\(name)” is unmounted on every node and is no volume any more.",
                "Its files stay where they are, in the directories of its bricks.",
            ], question: "Delete it?", command: "volume delete", input: input)
        try console.report(try await api.deleteVolume(name), input)
    }

    private static let nodes = Words("NODE", required: true, "The nodes")
    private static let old = Argument("OLD", Kind<String>.node, "The node whose brick goes; it may be dead")
    private static let new = Argument("NEW", Kind<String>.node, "The node that takes its place")

    static let addBrick = Command(
        asking: "add-brick", "Give more nodes a brick: more room, or one more copy",
        details: """
            As many nodes as keep the same files make one more set, and the files are spread over all of them. Fewer, where \
            the volume has one set of copies, make so many more copies.
            """,
        section: .change, accepts: [volume, nodes, Shared.json], examples: ["bramble volume add-brick shared serv4"]
    ) { input, console, api in
        let request = VolumeBricksRequest(add: input[nodes])
        try console.report(try await api.changeBricks(of: input[required: volume], request), input)
    }
    static let removeBrick = Command(
        asking: "remove-brick", "Take nodes' bricks away; their files are moved to the others first",
        details: "Whole sets, which are emptied; or single copies, where the others have everything.",
        section: .change, accepts: [volume, nodes, Shared.yes, Shared.json],
        examples: ["bramble volume remove-brick shared serv3"]
    ) { input, console, api in
        let (name, list) = (input[required: volume], input[nodes].joined(separator: ", "))
        try console.confirm(
            ["“\(name)” has no brick on \(list) any more. What is in the directories there stays, and grows old."],
            question: "Take them away?", command: "volume remove-brick", input: input)
        let request = VolumeBricksRequest(remove: input[nodes])
        try console.report(try await api.changeBricks(of: name, request), input)
    }
    static let replaceBrick = Command(
        asking: "replace-brick", "Let another node take the place of one, which may be dead", section: .change,
        accepts: [volume, old, new, Shared.json], examples: ["bramble volume replace-brick shared serv3 serv4"]
    ) { input, console, api in
        let request = VolumeBricksRequest(add: [input[required: new]], remove: [input[required: old]])
        try console.report(try await api.changeBricks(of: input[required: volume], request), input)
    }

    // MARK: In words

    private static func type(_ volume: VolumeInfo) -> String {
        switch volume.kind {
        case .disperse: "disperse \(volume.disperse), \(volume.redundancy) may be lost"
        case .replicate: volume.arbiter > 0 ? "replica \(volume.replica), arbiter" : "replica \(volume.replica)"
        }
    }
    private static func room(_ volume: VolumeInfo) -> String? {
        guard volume.totalBytes > 0 else { return nil }
        return "\(Text.bytes(volume.freeBytes)) of \(Text.bytes(volume.totalBytes))"
    }
    private static func colour(_ state: VolumeInfo.State) -> Colour {
        switch state {
        case .online: .green
        case .making, .changing, .deleting, .degraded: .yellow
        case .blocked, .offline: .red
        }
    }
}
