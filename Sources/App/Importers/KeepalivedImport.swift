import Primitives
import Services

/// keepalived.conf: each `vrrp_instance` becomes a service with its addresses, `vrrp_script` its check, and a
/// `virtual_server` a balancer.
enum KeepalivedImport {
    /// `key words {` … `}`; a statement has no children.
    final class Block {
        let words: [String]
        var children: [Block] = []
        init(_ words: [String]) { self.words = words }

        var key: String { words.first ?? "" }
        func all(_ key: String) -> [Block] { children.filter { $0.key == key } }
        func first(_ key: String) -> Block? { children.first { $0.key == key } }
        func value(_ key: String) -> String? { first(key).flatMap { $0.words.count > 1 ? $0.words[1] : nil } }
        var isSet: Bool { words.count < 2 || !["off", "no", "false"].contains(words[1].lowercased()) }
    }

    static func read(_ files: [OldFile], at place: String) throws(Refusal) -> Imported {
        var imported = Imported(origin: "keepalived's \(place)")
        guard let main = files.named("keepalived.conf") ?? (files.count == 1 ? files.first : nil) else {
            throw Refusal(
                "\(place) has no keepalived.conf in it", remedy: "name the file: /etc/keepalived/keepalived.conf")
        }
        let root = try parse(main.text)
        var scripts: [String: Block] = [:]
        for block in root.children where block.key == "vrrp_script" && block.words.count > 1 {
            scripts[block.words[1]] = block
        }
        for block in root.children {
            switch block.key {
            case "vrrp_instance": instance(block, scripts, &imported)
            case "virtual_server": server(block, &imported)
            case "vrrp_script", "vrrp_sync_group", "global_defs": break
            case "include":
                imported.remarks.append(
                    "include \(block.words.dropFirst().joined(separator: " ")) is not followed: import that file, too")
            default: imported.remarks.append("“\(block.key)” is not known to this import and was left out")
            }
        }
        for group in root.all("vrrp_sync_group") {
            let members = (group.first("group")?.children ?? []).flatMap(\.words)
            imported.remarks.append(
                "the sync group of \(members.joined(separator: ", ")): Bramble moves each service by itself; "
                    + "put addresses that belong together into one service")
        }
        let general = root.all("global_defs").flatMap(\.children).map(\.key)
        if !general.isEmpty {
            imported.remarks.append("of global_defs nothing is carried over: \(general.joined(separator: ", "))")
        }
        if imported.services.isEmpty { imported.remarks.append("there is no vrrp_instance in it") }
        imported.remarks.append(
            "keepalived has no reach list: with two nodes, name hosts that normally answer (reach: […])")
        return imported
    }

    private static func instance(_ block: Block, _ scripts: [String: Block], _ imported: inout Imported) {
        var service = Service(name: OldText.name(block.words.count > 1 ? block.words[1] : "", else: "address"))
        var remarks: [String] = []
        let device = block.value("interface")
        for key in ["virtual_ipaddress", "virtual_ipaddress_excluded"] {
            for line in block.first(key)?.children ?? [] { address(line.words, device, &service, &remarks) }
        }
        if let vmac = block.first("use_vmac"), vmac.isSet {
            service.mac = .virtual
            remarks.append(
                "mac: virtual uses a MAC of 00:00:5e:00:01:xx; mac: own, the default, works with more networks")
        }
        let tracked = (block.first("track_script")?.children ?? []).map(\.key)
        for (index, name) in tracked.enumerated() {
            guard let script = scripts[name] else {
                remarks.append("track_script \(name) has no vrrp_script")
                continue
            }
            index == 0 && service.check == nil
                ? check(script, &service, &remarks) : remarks.append("a service has one check: \(name) was left out")
        }
        if let priority = block.value("priority") {
            remarks.append("priority \(priority) is this node's: name the nodes, the best first, in prefer")
        }
        if block.first("nopreempt") == nil,
            block.value("state")?.uppercased() == "MASTER" || block.value("priority") != nil
        {
            remarks.append("without nopreempt keepalived moves it back; for the same, add failback: true beside prefer")
        }
        if let state = block.value("state") { remarks.append("state \(state): which node begins is for prefer to say") }
        if let interval = block.value("advert_int") {
            remarks.append("advert_int \(interval): Bramble's times come with --profile fast or calm")
        }
        let notes = block.children.filter { $0.key.hasPrefix("notify") || $0.key == "smtp_alert" }
        if !notes.isEmpty {
            let keys = notes.map(\.key).joined(separator: ", ")
            remarks.append("\(keys): not carried over. What a script started there is best named in run")
        }
        if let ways = block.first("track_interface") {
            let list = ways.children.map(\.key).joined(separator: ", ")
            remarks.append("track_interface \(list): Bramble watches the interface of the addresses by itself")
        }
        let unneeded: Set<String> = [
            "vmac_xmit_base", "preempt", "virtual_router_id", "authentication", "unicast_peer", "unicast_src_ip",
            "mcast_src_ip", "garp_master_delay", "garp_master_refresh", "garp_master_repeat", "garp_lower_prio_delay",
            "debug", "version", "dont_track_primary", "strict_mode", "accept",
        ]
        let useless = block.children.map(\.key).filter(unneeded.contains)
        if !useless.isEmpty { remarks.append("not needed: \(useless.joined(separator: ", "))") }
        let known: Set<String> = unneeded.union([
            "interface", "virtual_ipaddress", "virtual_ipaddress_excluded", "use_vmac", "track_script", "priority",
            "nopreempt", "state", "advert_int", "track_interface", "smtp_alert",
        ])
        for child in block.children where !known.contains(child.key) && !child.key.hasPrefix("notify") {
            remarks.append("\(child.words.joined(separator: " ")) was left out")
        }
        guard !service.addresses.isEmpty else {
            imported.remarks.append(
                "vrrp_instance \(service.name) was left out: none of its addresses could be carried over. \(remarks.joined(separator: "; "))"
            )
            return
        }
        imported.services.append(.init(value: service, remarks: remarks))
    }

    /// `192.168.200.16/24 brd 192.168.200.255 dev eth0 label eth0:1`
    private static func address(
        _ words: [String], _ device: String?, _ service: inout Service, _ remarks: inout [String]
    ) {
        guard let first = words.first else { return }
        var text = first
        if !text.contains("/") {
            // keepalived's own default: a host's address.
            let isV6 = text.contains(":")
            text += isV6 ? "/128" : "/32"
            remarks.append(
                "\(first) has no length of its network; keepalived then takes \(isV6 ? "/128" : "/32"). Give the network's, such as \(isV6 ? "/64" : "/24")"
            )
        }
        do throws(Refusal) {
            service.addresses.append(try FloatingAddress(text: text))
        } catch {
            remarks.append("\(first) was left out: \(error.problem)")
            return
        }
        let own = words.firstIndex(of: "dev").flatMap { words.count > $0 + 1 ? words[$0 + 1] : nil }
        guard let name = own ?? device else { return }
        if let chosen = service.interface, chosen != name {
            remarks.append("\(first) was on \(name), the others are on \(chosen): an interface is the whole service's")
        } else {
            do throws(Refusal) {
                service.interface = try Service.checkedInterface(name)
            } catch {
                remarks.append("the interface was left out: \(error.problem)")
            }
        }
    }

    private static func check(_ script: Block, _ service: inout Service, _ remarks: inout [String]) {
        let name = script.words[1]
        guard let command = script.value("script"), !command.isEmpty else {
            remarks.append("vrrp_script \(name) has no script")
            return
        }
        var words = OldText.words(command)
        let needsShell = command.contains { "|&;<>()$`\"'*?".contains($0) } || !(words.first?.hasPrefix("/") ?? false)
        if needsShell { words = ["/bin/sh", "-c", command] }
        do throws(Refusal) {
            service.check = try Check(text: "exec:\(ArgumentList.write(words))")
        } catch {
            remarks.append("the script of \(name) was left out: \(error.problem)")
            return
        }
        if let interval = script.value("interval").flatMap({ Int($0) }), interval > 0 {
            service.every = .seconds(min(interval, 86_400))
        }
        if let timeout = script.value("timeout").flatMap({ Int($0) }), timeout > 0 {
            service.limits.checkWithin = .seconds(min(timeout, 600))
        }
        if let fall = script.value("fall").flatMap({ Int($0) }), fall > 0 { service.limits.failures = min(fall, 100) }
        let others = script.children.map(\.key)
            .filter { !["script", "interval", "timeout", "fall", "weight"].contains($0) }
        if !others.isEmpty { remarks.append("of vrrp_script \(name) were left out: \(others.joined(separator: ", "))") }
        if let weight = script.value("weight"), weight != "0" {
            remarks.append(
                "weight \(weight) of \(name): in Bramble a failed check moves the service, it does not weigh")
        }
    }

    private static func server(_ block: Block, _ imported: inout Imported) {
        guard block.words.count >= 3, let address = IPAddress(block.words[1]), let port = UInt16(block.words[2]),
            port > 0
        else {
            imported.remarks.append(
                "virtual_server \(block.words.dropFirst().joined(separator: " ")) was left out: only ADDRESS PORT is read"
            )
            return
        }
        let real = block.all("real_server").filter { $0.words.count >= 3 }
        let ports = Set(real.compactMap { UInt16($0.words[2]) }).sorted()
        guard let to = ports.first, to > 0 else {
            imported.remarks.append("virtual_server \(address) \(port) was left out: it has no real_server with a port")
            return
        }
        var balancer = Balancer(name: OldText.name("port-\(port)", else: "balancer"), listenPort: port, to: to)
        if imported.balancers.contains(where: { $0.value.name == balancer.name }) {
            balancer.name = OldText.name("port-\(port)-\(imported.balancers.count + 1)", else: "balancer")
        }
        balancer.listenAddress = address
        balancer.transport = block.value("protocol")?.uppercased() == "UDP" ? .udp : .tcp
        var remarks = [
            "keepalived sends packets to the servers that are named (LVS); Bramble shares connections out to nodes"
        ]
        let others = (block.children.map(\.key) + real.flatMap(\.children).map(\.key))
            .filter { !["protocol", "persistence_timeout", "real_server"].contains($0) }
        if !others.isEmpty {
            let list = Set(others).sorted().joined(separator: ", ")
            remarks.append("left out: \(list). How a backend is asked whether it is well is for check to say")
        }
        if block.first("persistence_timeout") != nil { balancer.sticky = .source }
        if ports.count > 1 {
            remarks.append(
                "the real servers listen at \(ports.map { "\($0)" }.joined(separator: ", ")): a balancer has one port")
        }
        let hosts = real.map { $0.words[1] }.joined(separator: ", ")
        remarks.append("the real servers were \(hosts): Bramble takes the cluster's nodes, or those in nodes: […]")
        imported.balancers.append(.init(value: balancer, remarks: remarks))
    }

    // MARK: Syntax

    /// Bounded in depth and number; an unbalanced file is refused, since half of it would mean something else.
    static func parse(_ text: String) throws(Refusal) -> Block {
        let root = Block([])
        var open = [root]
        var words: [String] = []
        var count = 0
        func end() {
            if !words.isEmpty { open[open.count - 1].children.append(Block(words)) }
            words = []
        }
        for (index, line) in text.split(separator: "\n", omittingEmptySubsequences: false).enumerated() {
            for token in tokens(line) {
                count += 1
                guard count < 100_000 else {
                    throw Refusal("the file is too long", remedy: "import its parts one by one")
                }
                switch token {
                case "{":
                    guard open.count < 16 else {
                        throw Refusal(
                            "line \(index + 1): braces are too deep", remedy: "check the file with: keepalived -t")
                    }
                    // `key {` on its own line, or `{` on the next one.
                    let block = words.isEmpty ? open[open.count - 1].children.popLast() ?? Block([]) : Block(words)
                    words = []
                    open[open.count - 1].children.append(block)
                    open.append(block)
                case "}":
                    end()
                    guard open.count > 1 else {
                        throw Refusal(
                            "line \(index + 1): a brace is closed that was not opened",
                            remedy: "check the file with: keepalived -t")
                    }
                    open.removeLast()
                default: words.append(token)
                }
            }
            end()
        }
        guard open.count == 1 else {
            throw Refusal("a brace is not closed", remedy: "check the file with: keepalived -t")
        }
        return root
    }

    /// Words, quoted texts and braces; `!` and `#` begin a comment.
    private static func tokens(_ line: Substring) -> [String] {
        var result: [String] = []
        var word = ""
        var isQuoted = false
        for character in line {
            if isQuoted {
                if character == "\"" {
                    isQuoted = false
                    result.append(word)
                    word = ""
                } else {
                    word.append(character)
                }
                continue
            }
            switch character {
            case "#", "!":
                if !word.isEmpty { result.append(word) }
                return result
            case "\"":
                if !word.isEmpty { result.append(word) }
                word = ""
                isQuoted = true
            case " ", "\t", "\r", "{", "}":
                if !word.isEmpty { result.append(word) }
                word = ""
                if character == "{" || character == "}" { result.append(String(character)) }
            default: word.append(character)
            }
        }
        if !word.isEmpty { result.append(word) }
        return result
    }
}
