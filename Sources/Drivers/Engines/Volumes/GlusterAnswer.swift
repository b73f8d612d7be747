package import Volumes
import XML

/// What `gluster --xml` prints. Its exit status is 0 even on an error, so the answer itself says whether it was done.
package struct GlusterAnswer: Sendable {
    /// An element with what is in it.
    package struct Element: Sendable {
        package var name: String
        package var text = ""
        package var children: [Element] = []

        package subscript(_ name: String) -> Element? { children.first { $0.name == name } }
        package func all(_ name: String) -> [Element] { children.filter { $0.name == name } }
        package func text(_ name: String) -> String { self[name]?.text ?? "" }
        package func number(_ name: String) -> Int { Int(text(name)) ?? 0 }
    }
    /// Deeper than anything that glusterd prints.
    private static let deepest = 32

    package let root: Element
    /// Why it was not done; nil when it was.
    package let refusal: String?

    /// Nil for bytes without an answer: a few commands print only a sentence.
    package init?(_ bytes: [UInt8]) {
        var xml = TolerantXML(bytes)
        var open = [Element(name: "")]
        while let piece = xml.next() {
            switch piece {
            case .open(let name, _, let isEmpty):
                guard open.count < Self.deepest else { return nil }
                if isEmpty {
                    open[open.count - 1].children.append(Element(name: name))
                } else {
                    open.append(Element(name: name))
                }
            case .close(let name):
                guard open.count > 1, open.last?.name == name else { continue }
                let done = open.removeLast()
                open[open.count - 1].children.append(done)
            case .text(let text): open[open.count - 1].text += text.trimmed
            }
        }
        guard let answer = open[0]["cliOutput"], answer["opRet"] != nil else { return nil }
        root = answer
        guard answer.text("opRet") != "0" else {
            refusal = nil
            return
        }
        let text = answer.text("opErrstr")
        refusal = text.isEmpty ? "GlusterFS gives no reason (error \(answer.text("opErrno")))" : text
    }

    /// Of `pool list` and `peer status`, without the asked node itself.
    package var peers: [GlusterPeer] {
        (root["peerStatus"]?.all("peer") ?? []).compactMap { peer in
            let shown = peer.text("hostname")
            guard shown != "localhost" else { return nil }
            let others = peer["hostnames"]?.all("hostname").map(\.text) ?? []
            return GlusterPeer(
                names: [shown] + others.filter { $0 != shown }, isConnected: peer.text("connected") == "1",
                isInCluster: peer.text("state") == "3")
        }
    }

    /// Of `volume info`.
    package var volumes: [GlusterVolume] {
        (root["volInfo"]?["volumes"]?.all("volume") ?? []).map { element in
            var volume = GlusterVolume(name: element.text("name"))
            volume.status =
                switch element.number("status") {
                case 1: .started
                case 2: .stopped
                default: .created
                }
            volume.bricks = (element["bricks"]?.all("brick") ?? []).compactMap { brick in
                let place = brick.text("name")
                guard let colon = place.firstIndex(of: ":") else { return nil }
                return GlusterVolume.Brick(
                    host: String(place[..<colon]), path: String(place[place.index(after: colon)...]))
            }
            volume.replica = max(element.number("replicaCount"), 1)
            volume.arbiters = element.number("arbiterCount")
            volume.disperse = element.number("disperseCount")
            volume.redundancy = element.number("redundancyCount")
            for option in element["options"]?.all("option") ?? [] {
                volume.options[option.text("name")] = option.text("value")
            }
            return volume
        }
    }

    /// Of `rebalance … status` and `remove-brick … status`.
    package var task: VolumeTask? {
        guard let sum = (root["volRebalance"] ?? root["volRemoveBrick"])?["aggregate"] else { return nil }
        // Numbers of gf_defrag_status_t: not started, started, stopped, complete, failed, then the same for layouts.
        let status: VolumeTask.Status =
            switch sum.number("status") {
            case 1, 5: .running
            case 3, 7: .done
            case 4, 8: .failed
            default: .none
            }
        func count(_ name: String) -> UInt64 { UInt64(sum.text(name)) ?? 0 }
        return VolumeTask(
            status: status, files: count("files"), bytes: count("size"), failures: count("failures"))
    }
}

extension String {
    fileprivate var trimmed: Substring {
        let isSpace = { (letter: Character) in letter.isWhitespace }
        let start = drop(while: isSpace)
        guard let last = start.lastIndex(where: { !isSpace($0) }) else { return "" }
        return start[...last]
    }
}
