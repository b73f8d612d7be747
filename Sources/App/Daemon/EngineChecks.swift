import BrambleAPI
import Engines
import Processes
import Reactor

/// What `bramble doctor` says of the engines that are in use: whether their programs are here, and which versions.
extension Member {
    func examineEngines() async -> [DoctorCheck] {
        let desired = await pulse.house?.desired
        let transports = Set(desired?.balancers.map(\.transport) ?? [])
        /// Those without which nothing works, and those without which it works less well.
        var needed: [(program: EngineProgram, isVital: Bool)] = []
        if transports.contains(.http) { needed += [(.nginx, true), (.sockets, false)] }
        if transports.contains(.tcp) || transports.contains(.udp) {
            needed += [(.nft, true), (.conntrack, false)]
        } else if transports.contains(.http) {
            needed += [(.nft, false)]
        }
        if clocks.isOn { needed += [(.chronyc, true)] }
        if !(desired?.mirrors.isEmpty ?? true) { needed += [(.rsync, true)] }
        guard !needed.isEmpty else { return [] }
        let loop = EventLoop(name: "doctor")
        defer { loop.stop() }
        let spawner = Spawner(on: loop)
        var checks: [DoctorCheck] = []
        for (program, isVital) in needed {
            guard program.path != nil else {
                let missing = program.missing
                checks.append(
                    DoctorCheck(
                        check: program.name, state: isVital ? .fail : .warn, text: missing.problem,
                        remedy: missing.remedy))
                continue
            }
            let version = await program.version(on: spawner).map { " \($0)" } ?? ", not from a Debian package,"
            checks.append(
                DoctorCheck(
                    check: program.name, state: .ok, text: "\(program.name)\(version) is here: \(program.purpose)",
                    remedy: ""))
        }
        let rivals = clocks.isOn ? await worker.run { ChronyEngine.rivals() } : []
        if let warning = ChronyEngine.warning(of: rivals) {
            checks.append(
                DoctorCheck(check: "timekeepers", state: .warn, text: warning.problem, remedy: warning.remedy))
        }
        return checks
    }
}
