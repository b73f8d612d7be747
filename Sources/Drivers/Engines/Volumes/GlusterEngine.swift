import Glibc
import Logging
import Primitives
package import Processes
import Reactor
package import Volumes

/// GlusterFS, as Debian brings it: its command, its daemon and its mounts.
///
/// Every call has a limit. glusterd keeps its own state; nothing of it is copied here.
package actor GlusterEngine {
    /// What GlusterFS on this machine can do.
    package struct Tools: Equatable, Sendable {
        /// Why it cannot have bricks, with the remedy; else empty.
        package var serverTrouble = ""
        package var clientTrouble = ""
        /// Such as 10.3; empty where it is not installed.
        package var version = ""
        package init() {}
    }

    let directory: String
    let spawner: Spawner
    private let tool = EngineProgram("gluster", package: "glusterfs-server", purpose: "volumes are made of it")
    private let daemon = EngineProgram("glusterd", package: "glusterfs-server", purpose: "it serves the bricks")
    private var version = ""
    let client = EngineProgram("mount.glusterfs", package: "glusterfs-client", purpose: "volumes are mounted with it")

    /// - Parameter directory: where is written down which directories of bricks are ours.
    package init(directory: String, spawner: Spawner) {
        self.directory = directory
        self.spawner = spawner
    }

    // MARK: Asking and telling

    /// Reading takes no lock of the cluster; changes may, and the slowest, starting bricks, takes seconds on a small machine.
    private static let readLimit = Duration.seconds(5)
    private static let changeLimit = Duration.seconds(60)

    private func ask(_ words: [String], within limit: Duration) async throws(EngineFailure) -> GlusterAnswer? {
        // The exit status is 0 for some errors and 1 for others; what is printed says it.
        let bytes = try await tool.run(
            words + ["--mode=script", "--xml"], on: spawner, within: limit, expected: [0, 1, 255])
        let what = words.prefix(3).joined(separator: " ")
        let remedy = "look into /var/log/glusterfs, or try it by hand: gluster \(words.joined(separator: " "))"
        guard let answer = GlusterAnswer(bytes) else {
            // A few commands print a sentence.
            let text = String(decoding: bytes, as: UTF8.self).split(separator: "\n").first.map { String($0) } ?? ""
            guard text.contains("has been successful") else {
                throw EngineFailure(
                    problem: "gluster \(what): \(text.isEmpty ? "glusterd does not answer" : text)", remedy: remedy)
            }
            return nil
        }
        if let refusal = answer.refusal { throw EngineFailure(problem: "gluster \(what): \(refusal)", remedy: remedy) }
        return answer
    }

    /// Nil where no glusterd answers.
    package func pool() async -> [GlusterPeer]? {
        try? await ask(["pool", "list"], within: Self.readLimit)?.peers
    }
    package func volumes() async throws(EngineFailure) -> [GlusterVolume] {
        try await ask(["volume", "info"], within: Self.readLimit)?.volumes ?? []
    }
    /// “Not started” is an error to GlusterFS.
    package func task(_ question: VolumeQuestion) async throws(EngineFailure) -> VolumeTask {
        do throws(EngineFailure) {
            let answer = try await ask(question.words, within: .seconds(20))
            return answer?.task ?? VolumeTask(status: .none)
        } catch {
            guard error.problem.contains("not started") else { throw error }
            return VolumeTask(status: .none)
        }
    }
    package func perform(_ step: VolumeStep) async throws(EngineFailure) {
        guard let words = step.words else { return }
        let start = SystemClock.now
        do throws(EngineFailure) {
            _ = try await ask(words, within: Self.changeLimit)
        } catch {
            // Left by a creation that another node refused, or that was cut short: each node has looked that its directory is
            // empty and of no other volume, which is all that `force` takes off.
            guard case .create = step, error.problem.contains("is already part of a volume") else { throw error }
            _ = try await ask(words.last == "force" ? words : words + ["force"], within: Self.changeLimit)
        }
        let took = (SystemClock.now - start).milliseconds.rounded()
        Log.info("gluster \(words.joined(separator: " ")) took \(Int(took)) ms")
    }

    // MARK: The machine

    package func tools() async -> Tools {
        var tools = Tools()
        if version.isEmpty, tool.path != nil, let bytes = try? await tool.run(["--version"], on: spawner) {
            // “glusterfs 10.3”, then whose it is.
            let line = String(decoding: bytes, as: UTF8.self).split(separator: "\n").first ?? ""
            version = String(line.split(separator: " ").last ?? "")
        }
        tools.version = version
        let missing: [EngineFailure] = [tool, daemon].filter { $0.path == nil }.map(\.missing)
        if let missing = missing.first { tools.serverTrouble = "\(missing.problem); \(missing.remedy)" }
        if client.path == nil {
            tools.clientTrouble = "\(client.missing.problem); \(client.missing.remedy)"
        } else if !hasFUSE {
            tools.clientTrouble =
                "this machine has no FUSE (/dev/fuse), with which volumes are mounted; modprobe fuse, or use a kernel "
                + "that has it"
        }
        return tools
    }

    private var hasFUSE: Bool {
        var status = stat()
        return stat("/dev/fuse", &status) == 0 && status.st_mode & S_IFMT == S_IFCHR
            && access("/dev/fuse", R_OK | W_OK) == 0
    }

    /// By systemd, where that runs the machine.
    package func startDaemon() async throws(EngineFailure) {
        guard access("/run/systemd/system", F_OK) == 0 else {
            throw EngineFailure(
                problem: "glusterd does not run, and there is no systemd to start it", remedy: "start it: glusterd")
        }
        let manager = EngineProgram("systemctl", package: "systemd", purpose: "glusterd is started with it")
        _ = try await manager.run(["enable", "--now", "glusterd"], on: spawner, within: .seconds(30))
    }
}
