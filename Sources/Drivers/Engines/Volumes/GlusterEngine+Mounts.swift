import CLinux
import Glibc
import Logging
package import Primitives
import Processes
import Reactor

/// Mounts by FUSE. They are never looked into by this process: a volume whose bricks are gone would hold it up.
extension GlusterEngine {
    /// Every mount of GlusterFS on this machine: where, and of which volume.
    package nonisolated func mounts() -> [String: String] {
        var found: [String: String] = [:]
        guard let table = EngineFile.read("/proc/self/mountinfo", atMost: 1 << 20) else { return [:] }
        for line in table.split(separator: "\n") {
            // Number, parent, device, root, mount point, options, …, “-”, kind, source, options: proc(5).
            let fields = line.split(separator: " ")
            guard let dash = fields.firstIndex(of: "-"), fields.count > dash + 2, dash > 4,
                fields[dash + 1] == "fuse.glusterfs"
            else { continue }
            let source = fields[dash + 2]
            let volume = source.split(separator: ":").last.map { $0.drop { $0 == "/" } } ?? ""
            found[String(fields[4])] = String(volume)
        }
        return found
    }

    /// A directory that does not exist is made; one with files in it would hide them.
    package func mount(_ volume: ServiceName, servers: [NodeName], at path: String) async throws(EngineFailure) {
        guard client.path != nil else { throw client.missing }
        guard let server = servers.first else { return }
        try EngineFile.makeDirectories(path, remedy: "give another mount")
        if let stream = opendir(path) {
            defer { closedir(stream) }
            while let entry = readdir(stream) {
                let isDot = entry.pointee.d_name.0 == CChar(bitPattern: UInt8(ascii: "."))
                guard isDot else {
                    throw EngineFailure(
                        problem: "\(path) is not empty, and a mount would hide what is in it",
                        remedy: "move it away, or give another mount")
                }
            }
        }
        var options = "log-level=WARNING"
        if servers.count > 1 {
            options += ",backup-volfile-servers=" + servers.dropFirst().map(\.description).joined(separator: ":")
        }
        let words = ["-t", "glusterfs", "-o", options, "\(server):/\(volume)", path]
        let start = SystemClock.now
        // In a scope of systemd's: what is left in our own control group ends with the daemon, and the mount must not.
        if access("/run/systemd/system", F_OK) == 0 {
            let runner = EngineProgram("systemd-run", package: "systemd", purpose: "mounts outlive the daemon with it")
            _ = try await runner.run(
                ["--scope", "--quiet", "--collect", "/usr/bin/mount"] + words, on: spawner, within: .seconds(30))
        } else {
            _ = try await mounter.run(words, on: spawner, within: .seconds(30))
        }
        let took = (SystemClock.now - start).milliseconds.rounded()
        Log.info("\(volume) was mounted at \(path) in \(Int(took)) ms")
        guard mounts()[path] == volume.description else {
            throw EngineFailure(
                problem: "\(volume) was not mounted at \(path)",
                remedy: "look into /var/log/glusterfs\(path.replacing("/", with: "-")).log")
        }
    }
    private var mounter: EngineProgram {
        EngineProgram("mount", package: "mount", purpose: "volumes are mounted with it")
    }

    /// - Parameter isDead: its process is gone, so nobody can have anything open in it that still works.
    package func unmount(_ path: String, isDead: Bool = false) async throws(EngineFailure) {
        let program = EngineProgram("umount", package: "mount", purpose: "volumes are unmounted with it")
        do throws(EngineFailure) {
            _ = try await program.run((isDead ? ["-l"] : []) + [path], on: spawner, within: .seconds(15))
        } catch {
            guard error.problem.contains("busy") else { throw error }
            throw EngineFailure(
                problem: "programs still use \(path)",
                remedy: "see which: fuser -vm \(path); end them, it goes on by itself")
        }
        if rmdir(path) != 0 { Log.debug("\(path) stays: \(String(cString: strerror(errno)))") }
    }

    /// The process behind a mount is gone: every access fails at once, until it is mounted anew. Asked by a program with a
    /// limit, since a mount that waits for its bricks would hold us up.
    package func isDead(_ path: String) async -> Bool {
        let program = EngineProgram("stat", package: "coreutils", purpose: "mounts are looked at with it")
        do throws(EngineFailure) {
            _ = try await program.run(["--file-system", "--format=%T", path], on: spawner, within: .seconds(2))
            return false
        } catch { return error.problem.contains("endpoint is not connected") }
    }
}
