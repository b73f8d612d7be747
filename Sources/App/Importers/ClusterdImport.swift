import Primitives
import Services

/// clusterd 0.93 (Philip J. Lewis, 1999): `/etc/cluster.d` with `NODE.conf` (MAIN_IPADDR, MAIN_INTERFACE, MAIN_MACADDR,
/// HEARTBEAT_IPADDR, HEARTBEAT_INTERFACE, REDUNDANT_INTERFACE), a folder for each node with its mirror lists `F*` and its
/// `S??*` and `K??*` scripts, a list of hosts that are normally reachable, and crontab lines that run `sync-app`.
///
/// There, a node's whole identity moves: its address, its MAC and all of its services. So each node becomes one service.
enum ClusterdImport {
    static func read(_ files: [OldFile], at place: String) throws(Refusal) -> Imported {
        var imported = Imported(origin: "clusterd's \(place)")
        let nodes = files.filter { $0.path.hasSuffix(".conf") && !$0.path.contains("/") }
            .map { (name: String($0.path.dropLast(5)), file: $0) }.sorted { $0.name < $1.name }
        guard !nodes.isEmpty else {
            throw Refusal(
                "\(place) has no NODE.conf in it",
                remedy: "name the folder that holds serv1.conf and serv2.conf: /etc/cluster.d")
        }
        let names = nodes.compactMap { NodeName($0.name) }
        let schedules = schedules(files)
        for (name, file) in nodes {
            guard NodeName(name) != nil else {
                imported.remarks.append("\(file.path) was left out: “\(name)” is not a node's name")
                continue
            }
            let values = values(file.text)
            add(name, values, files, names, schedules, at: place, to: &imported)
        }
        reach(files, &imported)
        let locks = files.filter {
            lastPart($0).lowercased().contains("standby") || lastPart($0).lowercased().contains("lock")
        }
        for lock in locks {
            imported.remarks.append("\(lock.path) is a standby lock: to keep a node on hold, bramble node hold NAME")
        }
        let folders = Set(files.filter { $0.path.contains("/") }.map { String($0.path.prefix { $0 != "/" }) })
        let homeless = folders.subtracting(nodes.map(\.name)).sorted()
        for folder in homeless {
            imported.remarks.append(
                "\(folder)/ was left out: there is no \(folder).conf, so what is in it has no address")
        }
        for file in files
        where !homeless.contains(where: { file.path.hasPrefix($0 + "/") }) && isForeign(file, nodes.map(\.name), locks)
        {
            imported.remarks.append("\(file.path) is not known to this import and was left out")
        }
        return imported
    }

    private static func add(
        _ name: String, _ values: [String: String], _ files: [OldFile], _ names: [NodeName],
        _ schedules: [String: Duration], at place: String, to imported: inout Imported
    ) {
        var service = Service(name: OldText.name(name, else: "node"))
        var remarks: [String] = []
        if let text = values["MAIN_IPADDR"] {
            do throws(Refusal) {
                service.addresses = [try FloatingAddress(text: text.contains("/") ? text : text + "/24")]
                remarks.append("\(text) was \(name)'s own address; as a floating one it needs \(name) to have another")
                if !text.contains("/") {
                    remarks.append("the length of the network is not in \(name).conf: /24 is a guess")
                }
            } catch {
                remarks.append("MAIN_IPADDR was left out: \(error.problem)")
            }
        } else {
            remarks.append("\(name).conf has no MAIN_IPADDR, so the service has no address")
        }
        if let interface = values["MAIN_INTERFACE"] {
            remarks.append("MAIN_INTERFACE=\(interface): Bramble takes the interface whose network the address is in")
        }
        if !service.addresses.isEmpty, let spare = values["REDUNDANT_INTERFACE"], values["MAIN_MACADDR"] != nil,
            let interface = try? Service.checkedInterface(spare)
        {
            service.mac = .takeover
            service.interface = interface
            remarks.append(
                "mac: takeover moves a MAC with the address, on \(spare), which has to be spare on each node; mac: own, the "
                    + "default, is enough for switches and hosts of today"
            )
        }
        if let interface = values["HEARTBEAT_INTERFACE"] {
            let address = values["HEARTBEAT_IPADDR"].map { " (\($0))" } ?? ""
            remarks.append(
                "the heartbeat path \(interface)\(address): give \(name) both addresses, bramble start --address MAIN,HEARTBEAT"
            )
        }
        let own = files.filter { $0.path.hasPrefix(name + "/") }
        let scripts = own.filter { isScript(lastPart($0), "S") }
        if scripts.isEmpty {
            remarks.append("\(name)/ has no S?? scripts, so there is nothing to run")
        } else {
            let folder = place.hasSuffix("/") ? place : place + "/"
            do throws(Refusal) {
                service.run = try Run(text: "script:\(folder)\(name)/")
                remarks.append("its scripts have to be in \(folder)\(name)/ on every node")
            } catch {
                remarks.append("its scripts were left out: \(error.problem); \(error.remedy)")
            }
            for script in own where isScript(lastPart(script), "S") && !script.isThere {
                remarks.append("\(script.path) leads to \(script.linksTo ?? "nothing"), which is not on this machine")
            }
            if own.allSatisfy({ !isScript(lastPart($0), "K") }) {
                remarks.append("there are no K?? scripts: the S?? scripts are called with stop, last first")
            }
        }
        let known: Set<String> = [
            "MAIN_IPADDR", "MAIN_INTERFACE", "MAIN_MACADDR", "HEARTBEAT_IPADDR", "HEARTBEAT_INTERFACE",
            "REDUNDANT_INTERFACE",
        ]
        for key in values.keys.sorted() where !known.contains(key) {
            remarks.append("\(key)=\(values[key]!) in \(name).conf is not known to this import")
        }
        if let this = NodeName(name) { service.prefer = [this] + names.filter { $0 != this } }
        for file in own.sorted(by: { $0.path < $1.path }) where lastPart(file).hasPrefix("F") {
            guard let mirror = mirror(file, node: name, schedules, &imported) else { continue }
            service.mirrors.append(mirror)
        }
        if service.addresses.isEmpty, service.run == nil, service.mirrors.isEmpty {
            imported.remarks.append(
                "\(name).conf was left out: there is no address, no script and no mirror. \(remarks.joined(separator: "; "))"
            )
            return
        }
        imported.services.append(.init(value: service, remarks: remarks))
    }

    /// `Fsmbd`: paths in any number of lines.
    private static func mirror(
        _ file: OldFile, node: String, _ schedules: [String: Duration], _ imported: inout Imported
    ) -> ServiceName? {
        let base = lastPart(file)
        var name = OldText.name(base.dropFirst(), else: "mirror")
        if imported.mirrors.contains(where: { $0.value.name == name }) {
            name = OldText.name("\(node)-\(name)", else: "mirror")
        }
        var remarks: [String] = []
        let paths = OldText.lines(file.text).flatMap { OldText.words($0.text) }.filter { path in
            do throws(Refusal) {
                try PathRule.checkCopied(path)
                return true
            } catch {
                remarks.append("“\(path)” in \(file.path) was left out: \(error.problem)")
                return false
            }
        }
        guard !paths.isEmpty else {
            imported.remarks.append("\(file.path) was left out: it names no paths")
            return nil
        }
        var mirror = Mirror(name: name, paths: paths)
        if let every = schedules["\(node)/\(base)"] {
            mirror.schedule = .every(every)
        } else {
            remarks.append(
                "no crontab line for \(file.path) was found: every 10m is the default; on-change is there, too")
        }
        imported.mirrors.append(.init(value: mirror, remarks: remarks))
        return name
    }

    /// From crontab lines such as `0,5,10 * * * * root /usr/local/bin/sync-app /etc/cluster.d/serv1/Fsmbd serv2-hb`.
    private static func schedules(_ files: [OldFile]) -> [String: Duration] {
        var result: [String: Duration] = [:]
        for file in files where lastPart(file).contains("cron") {
            for (_, line) in OldText.lines(file.text) {
                let words = OldText.words(line)
                guard words.count > 6, let program = words.firstIndex(where: { $0.hasSuffix("sync-app") }),
                    words.count > program + 1
                else { continue }
                let list = words[program + 1].split(separator: "/").suffix(2).joined(separator: "/")
                result[list] = interval(minutes: words[0], hours: words[1])
            }
        }
        return result
    }

    static func interval(minutes: String, hours: String) -> Duration {
        if minutes == "*" { return .seconds(60) }
        if minutes.hasPrefix("*/"), let step = Int(minutes.dropFirst(2)), (1...60).contains(step) {
            return .seconds(60 * step)
        }
        let times = minutes.split(separator: ",").count
        if times > 1 { return .seconds(3600 / min(times, 60)) }
        if hours.hasPrefix("*/"), let step = Int(hours.dropFirst(2)), (1...24).contains(step) {
            return .seconds(3600 * step)
        }
        return hours == "*" ? .seconds(3600) : .seconds(86_400)
    }

    /// Any file with “reach” in its name: addresses, one or more in a line.
    private static func reach(_ files: [OldFile], _ imported: inout Imported) {
        for file in files where lastPart(file).lowercased().contains("reach") && !file.path.hasSuffix(".conf") {
            for word in OldText.lines(file.text).flatMap({ OldText.words($0.text) }) {
                if let address = IPAddress(word), !address.isLoopback, !address.isUnspecified {
                    if !imported.reach.contains(address) { imported.reach.append(address) }
                } else {
                    imported.remarks.append("the reach list's “\(word)” was left out: the reach list takes addresses")
                }
            }
        }
        if imported.reach.isEmpty {
            imported.remarks.append(
                "there is no reach list: name hosts that normally answer, such as the router (reach: […])")
        }
    }

    /// `KEY=value` of a Bourne shell; quotes go.
    private static func values(_ text: String) -> [String: String] {
        var result: [String: String] = [:]
        for (_, line) in OldText.lines(text) {
            var body = Substring(line)
            if body.hasPrefix("export ") { body = body.dropFirst(7) }
            let parts = body.split(separator: "=", maxSplits: 1, omittingEmptySubsequences: false)
            guard parts.count == 2, !parts[0].isEmpty, parts[0].allSatisfy({ $0.isLetter || $0.isNumber || $0 == "_" })
            else {
                continue
            }
            let value = OldText.trim(parts[1]).filter { $0 != "\"" && $0 != "'" }
            if !value.isEmpty { result[String(parts[0])] = value }
        }
        return result
    }

    private static func lastPart(_ file: OldFile) -> String {
        file.path.split(separator: "/").last.map { String($0) } ?? ""
    }
    private static func isScript(_ name: String, _ letter: Character) -> Bool {
        let rest = name.dropFirst()
        return name.first == letter && rest.count > 2 && rest.prefix(2).allSatisfy { $0.isASCII && $0.isNumber }
    }
    private static func isForeign(_ file: OldFile, _ nodes: [String], _ locks: [OldFile]) -> Bool {
        let name = lastPart(file)
        let isOfNode = nodes.contains { file.path.hasPrefix($0 + "/") }
        let isKnown =
            file.path.hasSuffix(".conf") && !file.path.contains("/") || name.lowercased().contains("reach")
            || name.contains("cron") || locks.contains(file)
            || isOfNode && (name.hasPrefix("F") || isScript(name, "S") || isScript(name, "K"))
        return !isKnown
    }
}
