import Glibc
import Logging
package import Primitives
package import Processes
import Reactor

/// chrony, as Debian configures it: two drop-in files of ours, and its own tool to tell it at once. Nothing of the
/// machine's own configuration is changed; without our files it is as it was.
package actor ChronyEngine {
    package enum Role: Equatable, Sendable {
        /// Gives the others the time: that of its own sources, else of its own clock.
        case serves
        case follows(IPAddress)
        /// Nobody serves now: what there was goes on.
        case waits
    }
    /// What chrony says of itself.
    package struct Reading: Equatable, Sendable {
        /// Whom it follows: an address, a name or `local`; nil for nobody.
        package var source: String?
        /// The most that it may be wrong, by its own reckoning. Unit: seconds.
        package var error: Double
        package var isSynchronized: Bool
    }

    private let root: String
    private let spawner: Spawner
    private let tool = EngineProgram.chronyc
    private var applied: (role: Role, members: [IPAddress])?
    /// The files are there, and chronyd could not be told.
    private var isUntold = false

    /// - Parameter root: `/etc/chrony`, or a directory in its place.
    package init(root: String = "/etc/chrony", spawner: Spawner) {
        self.root = root
        self.spawner = spawner
    }

    /// Serves at this stratum where there is no source: above all that real sources have, so that those win.
    private static let orphanStratum = 10
    private static let mark = "# Written by Bramble: bramble clock off takes it away. Changes here are lost."
    private var access: String { "\(root)/conf.d/bramble.conf" }
    private var sources: String { "\(root)/sources.d/bramble.sources" }

    package var isInstalled: Bool { tool.path != nil && Glibc.access("\(root)/conf.d", F_OK) == 0 }

    package func use(_ role: Role, members: [IPAddress]) async throws(EngineFailure) {
        guard tool.path != nil else { throw tool.missing }
        guard isInstalled else {
            throw EngineFailure(
                problem: "\(root)/conf.d is not there, so chrony would not read what is written there",
                remedy: "apt install chrony, and keep the line confdir of its chrony.conf")
        }
        let members = members.sorted { $0.description < $1.description }
        guard applied?.role != role || applied?.members != members else { return }
        try requireDirectories()
        let wasUntold = isUntold
        isUntold = true
        var lines = [Self.mark] + members.map { "allow \($0)" }
        if role == .serves { lines.append("local stratum \(Self.orphanStratum) orphan") }
        let isAccessNew = try write(lines, to: access)
        var isSourceNew = false
        switch role {
        case .follows(let server):
            isSourceNew = try write(
                [Self.mark, "server \(server) iburst minpoll 2 maxpoll 6 prefer"], to: sources)
        case .serves: isSourceNew = try remove(sources)
        case .waits: break
        }
        // The files are for its next start; a chronyd that runs is told.
        if isAccessNew || wasUntold {
            for address in members { try await tell(["allow", "\(address)"]) }
            let local = role == .serves ? ["stratum", "\(Self.orphanStratum)", "orphan"] : ["off"]
            try await tell(["local"] + local)
        }
        if isSourceNew || wasUntold { try await tell(["reload", "sources"]) }
        isUntold = false
        applied = (role, members)
    }

    /// A chrony.conf of the operator's own may lack the lines by which Debian's reads what others put beside it.
    private func requireDirectories() throws(EngineFailure) {
        let file = "\(root)/chrony.conf"
        let lines = (EngineFile.read(file, atMost: 1 << 16) ?? "").split(separator: "\n").map {
            $0.split { $0 == " " || $0 == "\t" }
        }
        for (words, folder) in [(["confdir", "include"], "conf.d"), (["sourcedir"], "sources.d")] {
            let isRead = lines.contains { line in
                guard let first = line.first, words.contains(first.lowercased()) else { return false }
                return line.dropFirst().contains { $0.hasPrefix("\(root)/\(folder)") }
            }
            guard !isRead else { continue }
            throw EngineFailure(
                problem: "\(file) does not let chrony read \(root)/\(folder)",
                remedy: "add the line “\(words[0]) \(root)/\(folder)” to it, then: systemctl restart chrony")
        }
    }

    /// Something of ours is on this machine.
    package static func isThere(at root: String = "/etc/chrony") -> Bool {
        ["conf.d/bramble.conf", "sources.d/bramble.sources"].contains { Glibc.access("\(root)/\($0)", F_OK) == 0 }
    }

    /// As it was before; a chronyd that runs reads its own configuration again.
    package func leave() async {
        applied = nil
        let hadAccess = (try? remove(access)) ?? false
        let hadSources = (try? remove(sources)) ?? false
        guard hadAccess || hadSources else { return }
        isUntold = false
        try? await tell(["reload", "sources"])
        let manager = EngineProgram("systemctl", package: "systemd", purpose: "chrony is started again with it")
        do throws(EngineFailure) {
            _ = try await manager.run(["try-restart", "chrony"], on: spawner)
        } catch {
            Log.warning("chrony serves the time until it is started again: systemctl restart chrony")
        }
    }

    private func tell(_ words: [String]) async throws(EngineFailure) {
        do throws(EngineFailure) {
            _ = try await tool.run(words, on: spawner, within: .seconds(5))
        } catch {
            throw EngineFailure(
                problem: "chrony does not run, or does not do as it is told (\(error.problem))",
                remedy: "systemctl enable --now chrony")
        }
    }

    /// Other programs that set this machine's clock, too, by the names of their processes.
    package static func rivals() -> [String] {
        let known = ["systemd-timesyn": "systemd-timesyncd", "ntpd": "ntpd", "openntpd": "openntpd"]
        guard let directory = opendir("/proc") else { return [] }
        defer { closedir(directory) }
        var found: Set<String> = []
        while let entry = readdir(directory) {
            let name = withUnsafePointer(to: &entry.pointee.d_name) {
                $0.withMemoryRebound(to: CChar.self, capacity: 256) { String(cString: $0) }
            }
            guard name.first?.isNumber == true,
                let command = EngineFile.read("/proc/\(name)/comm", atMost: 64)?.split(separator: "\n").first,
                let rival = known[String(command)]
            else { continue }
            found.insert(rival)
        }
        return found.sorted()
    }

    /// Nil for none.
    package static func warning(of rivals: [String]) -> EngineFailure? {
        guard !rivals.isEmpty else { return nil }
        return EngineFailure(
            problem:
                "\(rivals.joined(separator: " and ")) \(rivals.count == 1 ? "sets" : "set") this machine's clock, too, "
                + "against chrony",
            remedy: "systemctl disable --now \(rivals.joined(separator: " "))")
    }

    /// Nil where chrony is not there or does not answer.
    package func reading() async -> Reading? {
        guard let bytes = try? await tool.run(["-c", "-n", "tracking"], on: spawner, within: .seconds(2)) else {
            return nil
        }
        return Self.reading(of: String(decoding: bytes, as: UTF8.self))
    }

    /// A line of `chronyc -c tracking`: reference, its name, stratum, time, offset now, last, RMS, frequency, residual, skew,
    /// root delay, root dispersion, interval, leap status.
    package static func reading(of line: String) -> Reading? {
        let fields = line.split(separator: "\n").first?.split(separator: ",", omittingEmptySubsequences: false) ?? []
        guard fields.count >= 14, let offset = Double(fields[4]), let delay = Double(fields[10]),
            let dispersion = Double(fields[11])
        else { return nil }
        let isSynchronized = fields[13] == "Normal" || fields[13] == "Insert second" || fields[13] == "Delete second"
        let name = fields[1].isEmpty ? String(fields[0]) : String(fields[1])
        return Reading(
            source: !isSynchronized ? nil : fields[0] == "7F7F0101" ? "local" : name,
            error: abs(offset) + delay / 2 + dispersion, isSynchronized: isSynchronized)
    }

    // MARK: Files

    /// True when something is different now. What somebody else wrote is left alone.
    private func write(_ lines: [String], to path: String) throws(EngineFailure) -> Bool {
        let text = lines.joined(separator: "\n") + "\n"
        if let there = EngineFile.read(path) {
            guard there.hasPrefix(Self.mark) else { throw Self.foreign(path) }
            if there == text { return false }
        }
        try EngineFile.replace(
            path, with: text, remedy: "let systemd start bramble, which may write there, or look at the disk")
        return true
    }
    private func remove(_ path: String) throws(EngineFailure) -> Bool {
        guard let there = EngineFile.read(path) else { return false }
        guard there.hasPrefix(Self.mark) else { throw Self.foreign(path) }
        return unlink(path) == 0
    }
    private static func foreign(_ path: String) -> EngineFailure {
        EngineFailure(
            problem: "\(path) was not written by Bramble, so it is left alone", remedy: "give it another name")
    }
}
