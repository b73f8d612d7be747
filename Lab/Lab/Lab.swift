import CLab
import CLinux
import Glibc
import Primitives

/// A small world of hosts on one Ethernet, for tests, the demonstration and benchmarks.
///
/// A host has its own network, host name, `/etc`, `/var`, `/usr`, `/tmp`, `/srv`, `/run` and machine-id; the world has its own
/// bridge and process numbers. Nothing of the machine it runs on is changed, and all is gone when the lab is closed or
/// this process dies, even by SIGKILL: the world's first process waits for the end of a pipe that only we hold, and with a
/// first process the kernel ends all others.
///
/// Needs root. Calls block; tests run them on `LabThread`.
package final class Lab {
    /// Addresses are `prefix`.1 and on, in the order of the hosts.
    package static let prefix = "10.77.0"

    package private(set) var hosts: [Host] = []
    private let world: NamespaceThread
    /// The world's first process; nobody writes to its standard input.
    private let first: LabProcess
    private let lifeline: Int32
    /// A socket of the world's network, to move links with.
    private let control: Int32
    private var faults = Faults()

    /// Why no lab can be made here; nil when one can.
    package static let obstacle: String? = {
        guard geteuid() == 0 else { return "the lab makes network namespaces and needs root" }
        let probe = NamespaceThread(name: "lab-probe")
        defer { probe.stop() }
        return probe.run {
            clab_unshare(CLAB_NEW_MOUNTS | CLAB_NEW_NETWORK | CLAB_NEW_PIDS) == 0
                ? nil : "this kernel or container allows no new namespaces: \(String(cString: strerror(errno)))"
        }
    }()
    package static var isAvailable: Bool { obstacle == nil }

    /// Makes hosts and connects them. Names are host names, at most 13 characters.
    package init(_ names: [String]) throws(LabError) {
        if let obstacle = Lab.obstacle { throw LabError(obstacle) }
        world = NamespaceThread(name: "lab-world")
        var pipe: [Int32] = [0, 0]
        try check(clab_pipe(&pipe), "make a pipe")
        lifeline = pipe[1]
        let end = pipe[0]
        defer { Glibc.close(end) }
        (first, control) = try world.run { () throws(LabError) -> (LabProcess, Int32) in
            try check(
                clab_unshare(CLAB_NEW_MOUNTS | CLAB_NEW_NETWORK | CLAB_NEW_PIDS | CLAB_NEW_UTS | CLAB_NEW_IPC),
                "make namespaces")
            // From here on no mount reaches the machine outside.
            try Mount.makePrivate("/")
            try Mount.tmpfs(on: "/run")
            for directory in ["/run/netns", "/run/lab"] { try check(mkdir(directory, 0o755), "make \(directory)") }
            chdir("/")
            let log = clab_memory_file("first")
            let pid = try Spawn.start(
                // It inherits whatever has lost its parent. Ended children that it does not ask for would stay as zombies,
                // which programs that look for a process by its number take for running ones.
                ["/usr/bin/env", "--ignore-signal=CHLD", "/bin/cat"], environment: [:], input: end, output: log,
                errors: log)
            let control = try check(socket(AF_INET, Int32(SOCK_DGRAM.rawValue) | 0o2000000, 0), "make a socket")
            return (LabProcess(pid: pid, log: log), control)
        }
        // Snooping would stop multicast where nobody asks who listens; spanning tree would keep ports closed at first.
        try command(
            ["ip", "-batch", "-"],
            input: """
                link set lo up
                link add br0 type bridge stp_state 0 forward_delay 0 mcast_snooping 0
                link set br0 up

                """)
        try add(names)
    }
    deinit { close() }

    /// Adds hosts to a running world.
    @discardableResult
    package func add(_ names: [String], connected: Bool = true) throws(LabError) -> [Host] {
        var made: [Host] = []
        for name in names {
            guard name.utf8.count <= 13, NodeName(name) != nil else { throw LabError("“\(name)” is no host name") }
            let number = hosts.count + made.count + 1
            guard number < 255 else { throw LabError("a lab has at most 254 hosts") }
            made.append(try Host(name: name, number: number, world: world))
        }
        hosts += made
        let batch = made.map { host in
            """
            link add \(port(host.name)) type veth peer name eth0 address \(host.hardwareAddress) netns \(host.name)
            link set \(port(host.name)) master br0\(connected ? " up" : "")

            """
        }.joined()
        try command(["ip", "-batch", "-"], input: batch)
        for host in made { try host.configureNetwork() }
        return made
    }

    package subscript(_ name: String) -> Host {
        guard let host = hosts.first(where: { $0.name == name }) else { preconditionFailure("no host “\(name)”") }
        return host
    }

    // MARK: Faults

    /// Pulls the cable: the carrier goes on both ends.
    package func unplug(_ host: Host) throws(LabError) {
        try check(clab_set_link(control, port(host.name), 0), "unplug \(host.name)")
    }
    package func plug(_ host: Host) throws(LabError) {
        try check(clab_set_link(control, port(host.name), 1), "plug \(host.name) in")
    }

    /// As a power cut: the link goes first, so that no peer is told by a closing connection, then every process.
    package func powerOff(_ host: Host) throws(LabError) {
        try unplug(host)
        host.killAll()
    }

    /// The host hears and reaches nobody; its carrier stays, as when a switch further away fails.
    package func cut(_ host: Host) throws(LabError) {
        try partition([host], from: hosts.filter { $0 !== host })
    }
    package func partition(_ left: [Host], from right: [Host]) throws(LabError) {
        try change { faults in
            for one in left { for other in right { faults.cut(one.name, other.name) } }
        }
    }
    /// One way: what `from` sends does not reach `to`.
    package func drop(from: Host, to: Host) throws(LabError) {
        try change { $0.dropped.insert(Faults.Link(from: from.name, to: to.name)) }
    }
    /// Loses this share of all frames between hosts, by chance. 0 to 100 percent.
    package func lose(percent: Double) throws(LabError) {
        try change { $0.lossPerMille = Int(percent * 10) }
    }
    /// Ends every fault of the network; unplugged hosts are plugged in, killed processes stay dead.
    package func heal() throws(LabError) {
        try change { $0 = Faults() }
        for host in hosts { try plug(host) }
    }

    private func change(_ edit: (inout Faults) -> Void) throws(LabError) {
        edit(&faults)
        try command(["nft", "-f", "-"], input: faults.ruleset(port: port))
    }

    // MARK: The world itself

    /// The name of a host's port on the bridge.
    private func port(_ host: String) -> String { "p-\(host)" }

    /// Everything the hosts send one another, from now on.
    package func sniffer() throws(LabError) -> Sniffer {
        try world.run { () throws(LabError) -> Sniffer in try Sniffer() }
    }

    /// In the world's network, outside every host.
    @discardableResult
    package func command(_ arguments: [String], input: String = "") throws(LabError) -> CommandResult {
        let result = try Spawn.run(
            arguments, on: world, environment: Host.environment, input: input, within: .seconds(10))
        guard result.succeeded else {
            throw LabError("\(arguments.joined(separator: " ")) failed: \(result.errors)\n\(input)")
        }
        return result
    }

    /// Ends all hosts. Closing twice is harmless.
    package func close() {
        guard !hosts.isEmpty || first.isRunning else { return }
        for host in hosts { host.killAll() }
        first.kill()
        for host in hosts { host.leave() }
        hosts = []
        world.stop()
        Glibc.close(lifeline)
        Glibc.close(control)
    }
}

enum Mount {
    static func makePrivate(_ path: String) throws(LabError) {
        try call(nil, path, nil, UInt(MS_REC | MS_PRIVATE), nil)
    }
    static func tmpfs(on path: String) throws(LabError) {
        try call("tmpfs", path, "tmpfs", UInt(MS_NOSUID | MS_NODEV), "mode=755")
    }
    static func bind(_ source: String, on path: String) throws(LabError) {
        try call(source, path, nil, UInt(MS_BIND), nil)
    }
    /// With all that is mounted below it.
    static func bindAll(_ source: String, on path: String) throws(LabError) {
        try call(source, path, nil, UInt(MS_BIND | MS_REC), nil)
    }
    /// What is mounted there is not in copies of what lies above it.
    static func keepOutOfCopies(_ path: String) throws(LabError) { try call(nil, path, nil, UInt(MS_UNBINDABLE), nil) }
    static func sysfs() throws(LabError) { try call("sysfs", "/sys", "sysfs", 0, nil) }

    /// What is there stays readable; what is written goes to `upper`.
    static func overlay(on path: String, upper: String, work: String) throws(LabError) {
        try call("overlay", path, "overlay", 0, "lowerdir=\(path),upperdir=\(upper),workdir=\(work)")
    }

    private static func call(
        _ source: String?, _ target: String, _ kind: String?, _ flags: UInt, _ data: String?
    ) throws(LabError) {
        let result = (data ?? "").withCString { mount(source, target, kind, flags, data == nil ? nil : $0) }
        try check(result, "mount \(kind ?? source ?? "") on \(target)")
    }
}
