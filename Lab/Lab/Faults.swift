/// Everything that is wrong with the network at this moment. Rendered as one nftables table of the bridge family and
/// replaced as a whole, so that a change is atomic and forgets nothing.
struct Faults: Equatable, Sendable {
    struct Link: Hashable, Comparable, Sendable {
        var from: String
        var to: String
        static func < (left: Link, right: Link) -> Bool { (left.from, left.to) < (right.from, right.to) }
    }

    /// Frames from one host to another that never arrive; the other way is not touched.
    var dropped: Set<Link> = []
    /// Of every frame between two hosts, the share that is lost, in tenths of a percent.
    var lossPerMille = 0

    mutating func cut(_ left: String, _ right: String) {
        dropped.insert(Link(from: left, to: right))
        dropped.insert(Link(from: right, to: left))
    }

    /// `port` names the bridge port of a host.
    func ruleset(port: (String) -> String) -> String {
        var rules = dropped.sorted().map { "iifname \"\(port($0.from))\" oifname \"\(port($0.to))\" drop" }
        if lossPerMille > 0 { rules.append("numgen random mod 1000 < \(lossPerMille) drop") }
        // The empty table first: deleting one that is not there is an error.
        return """
            table bridge lab {}
            delete table bridge lab
            table bridge lab {
                chain forward {
                    type filter hook forward priority 0; policy accept;
            \(rules.map { "        \($0)" }.joined(separator: "\n"))
                }
            }

            """
    }
}
