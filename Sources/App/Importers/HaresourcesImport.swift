import Primitives
import Services

/// Linux-HA heartbeat, version 1 style: `haresources` (a line for each group: the preferred node and its resources), with
/// `ha.cf` beside it for nodes, ping hosts and auto_failback.
enum HaresourcesImport {
    static func read(_ files: [OldFile], at place: String) throws(Refusal) -> Imported {
        var imported = Imported(origin: "heartbeat's \(place)")
        guard let resources = files.named("haresources") ?? (files.count == 1 ? files.first : nil) else {
            throw Refusal("\(place) has no haresources in it", remedy: "name the file or its folder: /etc/ha.d")
        }
        var nodes: [NodeName] = []
        var failback = false
        if let main = files.named("ha.cf") {
            (nodes, failback) = settings(main.text, &imported)
        } else {
            imported.remarks.append("there was no ha.cf: the other nodes and the ping hosts are not known")
        }
        if files.named("authkeys") != nil {
            imported.remarks.append("authkeys is not needed: Bramble's nodes know each other by their own keys")
        }
        for (number, line) in OldText.lines(resources.text) {
            group(number, OldText.words(line), nodes, failback, &imported)
        }
        if imported.services.isEmpty { imported.remarks.append("haresources has no group in it") }
        return imported
    }

    private static func settings(_ text: String, _ imported: inout Imported) -> ([NodeName], Bool) {
        var nodes: [NodeName] = []
        var failback = false
        var unneeded: [String] = []
        for (number, line) in OldText.lines(text) {
            let words = OldText.words(line)
            switch words[0] {
            case "node": nodes += words.dropFirst().compactMap { node($0, &imported) }
            case "ping":
                for word in words.dropFirst() { reach(word, &imported) }
            case "ping_group":
                for word in words.dropFirst(2) { reach(word, &imported) }
            case "auto_failback": failback = ["on", "yes", "true", "legacy"].contains(words.count > 1 ? words[1] : "")
            case "keepalive", "deadtime", "warntime", "initdead":
                imported.remarks.append("\(line): Bramble's times come with --profile fast or calm")
            case "bcast", "ucast", "mcast", "serial", "baud", "udpport":
                imported.remarks.append(
                    "\(line): Bramble finds its paths from the nodes' addresses (bramble start --address A,B)")
            case "respawn" where line.contains("ipfail"):
                imported.remarks.append("ipfail is not needed: the reach list does its work")
            case "crm", "pacemaker":
                imported.remarks.append("\(line): the resources are in pacemaker's configuration, which is not read")
            case "stonith", "stonith_host":
                imported.remarks.append("\(words[0]) was left out: Bramble fences through its own settings")
            case "logfile", "logfacility", "debugfile", "debug", "use_logd", "watchdog", "hopfudge", "deadping",
                "compression",
                "apiauth", "respawn", "uuidfrom", "traditional_compression", "conn_logd_time":
                unneeded.append(words[0])
            default: imported.remarks.append("ha.cf, line \(number): “\(words[0])” is not known to this import")
            }
        }
        if !unneeded.isEmpty {
            imported.remarks.append("of ha.cf these are not needed: \(unneeded.joined(separator: ", "))")
        }
        return (nodes, failback)
    }

    /// heartbeat goes by `uname -n`, which may be a whole domain name; Bramble's nodes have one label.
    private static func node(_ text: String, _ imported: inout Imported) -> NodeName? {
        if let name = NodeName(text) { return name }
        guard text.contains("."), let name = NodeName(text.split(separator: ".").first ?? "") else { return nil }
        let remark = "the node \(text) is called \(name) in Bramble"
        if !imported.remarks.contains(remark) { imported.remarks.append(remark) }
        return name
    }

    private static func reach(_ word: String, _ imported: inout Imported) {
        guard let address = IPAddress(word), !address.isLoopback else {
            imported.remarks.append("the ping host “\(word)” was left out: the reach list takes addresses")
            return
        }
        if !imported.reach.contains(address) { imported.reach.append(address) }
    }

    private static func group(
        _ number: Int, _ words: [String], _ nodes: [NodeName], _ failback: Bool, _ imported: inout Imported
    ) {
        guard let node = node(words[0], &imported) else {
            imported.remarks.append("haresources, line \(number) was left out: “\(words[0])” is not a node's name")
            return
        }
        var addresses: [FloatingAddress] = []
        var interface: String?
        var scripts: [String] = []
        var agents: [(agent: String, parameters: [Service.Parameter])] = []
        var remarks: [String] = []
        for word in words.dropFirst() {
            let parts = splitArguments(word)
            let isAddress = IPAddress(word.split(separator: "/").first ?? "") != nil
            if isAddress || ["IPaddr", "IPaddr2", "IPv6addr"].contains(parts[0]) {
                address(isAddress ? word : parts.dropFirst().first ?? "", &addresses, &interface, &remarks)
            } else if parts.count == 1 {
                scripts.append(word)
            } else if parts[0] == "Filesystem", parts.count >= 3 {
                var given = [Service.Parameter("device", parts[1]), .init("directory", parts[2])]
                if parts.count > 3 { given.append(.init("fstype", parts[3])) }
                if parts.count > 4 { given.append(.init("options", parts[4])) }
                agents.append(("Filesystem", given.sorted { $0.name < $1.name }))
            } else if parts[0] == "drbddisk" {
                remarks.append(
                    "\(word) was left out: DRBD's roles are not Bramble's; a mirror or a volume keeps copies of files")
            } else if parts[0] == "MailTo" {
                remarks.append("\(word) was left out: to be told of moves, follow the events (bramble events --follow)")
            } else {
                remarks.append(
                    "\(word) was left out: what its arguments mean is known to /etc/ha.d/resource.d/\(parts[0]) alone")
            }
        }
        let others = nodes.filter { $0 != node }
        var main = Service(name: unused(scripts.first ?? agents.first?.agent.lowercased() ?? "\(node)", imported))
        main.addresses = addresses
        main.interface = interface
        main.prefer = [node] + others
        main.failback = failback
        let folder = "/etc/bramble/scripts/\(main.name)/"
        if !scripts.isEmpty {
            do throws(Refusal) {
                for script in scripts { main.run = try Run(text: "script:/etc/init.d/\(script)") }
                if scripts.count > 1 { main.run = .script(path: folder) }
            } catch {
                main.run = nil
                remarks.append("\(scripts.joined(separator: ", ")) was left out: \(error.problem)")
                scripts = []
            }
        }
        if scripts.count > 1 {
            let links = scripts.enumerated().map { place, script in
                "ln -s /etc/init.d/\(script) \(folder)S\(10 * (place + 1))\(script)"
            }
            let commands = (["mkdir -p \(folder)"] + links).joined(separator: " && ")
            remarks.append("its \(scripts.count) scripts run as one; on every node: \(commands)")
        }
        if scripts.count <= 1 {
            for script in scripts { remarks.append("if \(script) is a systemd unit by now: run: systemd:\(script)") }
        }
        for (agent, parameters) in agents {
            if main.run == nil {
                main.run = .ocf(provider: "heartbeat", agent: agent)
                main.parameters = parameters
            } else {
                remarks.append(
                    "\(agent) (\(parameters.map { "\($0.name)=\($0.value)" }.joined(separator: ", "))) was left out: a service runs one "
                        + "thing; mount it in a script of the folder, or use a mirror or a volume")
            }
        }
        if failback {
            remarks.append("auto_failback was on: failback: true interrupts it once more when \(node) is back")
        }
        guard !main.addresses.isEmpty || main.run != nil else {
            imported.remarks.append(
                "haresources, line \(number) was left out: nothing of it could be carried over. \(remarks.joined(separator: "; "))"
            )
            return
        }
        imported.services.append(.init(value: main, remarks: remarks))
    }

    /// `IPaddr::10.0.0.1/24/eth0/10.0.0.255` by its double colons.
    private static func splitArguments(_ word: String) -> [String] {
        var parts: [String] = []
        var rest = Substring(word)
        while let gap = rest.firstRange(of: "::") {
            parts.append(String(rest[..<gap.lowerBound]))
            rest = rest[gap.upperBound...]
            if parts[0] == "IPv6addr" { break }
        }
        return parts + [String(rest)]
    }

    /// `10.0.0.1/24/eth0/10.0.0.255`: length, interface and broadcast address may be left out.
    private static func address(
        _ text: String, _ addresses: inout [FloatingAddress], _ interface: inout String?, _ remarks: inout [String]
    ) {
        let parts = text.split(separator: "/").map { String($0) }
        guard let first = parts.first, let address = IPAddress(first) else {
            remarks.append("the address “\(text)” was left out: it cannot be read")
            return
        }
        var isV4 = false
        if case .v4 = address { isV4 = true }
        var length = isV4 ? "24" : "64"
        if parts.count > 1, UInt8(parts[1]) != nil {
            length = parts[1]
        } else {
            remarks.append("the length of \(first)'s network is not in haresources: /\(length) is a guess")
        }
        do throws(Refusal) {
            addresses.append(try FloatingAddress(text: "\(first)/\(length)"))
        } catch {
            remarks.append("\(text) was left out: \(error.problem)")
            return
        }
        if let device = parts.dropFirst().first(where: { UInt8($0) == nil && IPAddress($0) == nil }) {
            do throws(Refusal) {
                interface = try Service.checkedInterface(String(device.split(separator: ":").first ?? ""))
            } catch {
                remarks.append("the interface was left out: \(error.problem)")
            }
        }
    }

    private static func unused(_ wish: String, _ imported: Imported) -> ServiceName {
        let name = OldText.name(wish, else: "service")
        guard imported.services.contains(where: { $0.value.name == name }) else { return name }
        for number in 2...1000 {
            let other = OldText.name("\(name.description.prefix(40))-\(number)", else: "service")
            if !imported.services.contains(where: { $0.value.name == other }) { return other }
        }
        return name
    }
}
