import Engines
import Primitives
import Services
import Volumes

/// What keeps nodes from a brick, before a volume is made.
extension VolumeKeeping {
    /// What keeps the nodes that would have a brick from it, a sentence each.
    func obstacles(_ volume: Volume) async -> [String] {
        guard let scene = await scene() else { return ["this node is starting"] }
        var found: [String] = []
        var asked: [(NodeName, NodeID)] = []
        for node in volume.nodes {
            guard let member = scene.members.first(where: { $0.name == node }), let id = scene.ids[node] else {
                found.append("\(node) is not a node of this cluster; bramble nodes lists them")
                continue
            }
            if member.isAlive {
                asked.append((node, id))
            } else {
                found.append("\(node) is not alive; see why: bramble why \(node)")
            }
        }
        // What the others lack without those would only confuse.
        guard found.isEmpty else { return found }
        await withTaskGroup(of: String.self) { group in
            for (node, id) in asked {
                group.addTask {
                    let trouble =
                        id == self.id
                        ? await self.examine(volume)
                        : await self.exchange.ask(id, volume) ?? "it did not answer in time; see: bramble nodes"
                    return trouble.isEmpty ? "" : "\(node): \(trouble)"
                }
            }
            for await trouble in group where !trouble.isEmpty { found.append(trouble) }
        }
        return found.sorted()
    }

    /// What stands in the way of a brick of this volume on this node; empty where nothing does. Changes nothing but that
    /// glusterd is started.
    func examine(_ volume: Volume) async -> String {
        guard let scene = await scene() else { return "this node is starting" }
        let engine = glusterd.engine
        let able = await engine.tools()
        guard able.clientTrouble.isEmpty else { return able.clientTrouble }
        guard able.serverTrouble.isEmpty else { return able.serverTrouble }
        var gluster = await glusterd.answer(noOlderThan: .zero, able)
        if !gluster.isServing {
            do throws(EngineFailure) {
                try await engine.startDaemon()
            } catch { return "\(error.problem); \(error.remedy)" }
            gluster = await glusterd.answer(noOlderThan: .zero, able)
        }
        if gluster.volumes.contains(where: { $0.name == volume.name.description && !$0.isOurs }) {
            return "GlusterFS has a volume \(volume.name) that Bramble did not make; give another name"
        }
        if let obstacle = await engine.obstacle(volume, on: scene.me, among: gluster.volumes) {
            return "\(obstacle.problem); \(obstacle.remedy)"
        }
        let names = volume.nodes
        let unknown = await worker.run {
            names.filter { NameLookup.endpoints(of: $0.description, defaultPort: 24007).isEmpty }
        }
        guard unknown.isEmpty else {
            let list = unknown.map(\.description).joined(separator: ", ")
            return "it cannot find the address of \(list) by name; let Bramble keep the hosts file, or add them to it"
        }
        return ""
    }
}
