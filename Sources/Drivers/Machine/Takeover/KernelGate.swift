import CLinux
import Glibc
import Primitives
import Reactor

/// Lets traffic of floating addresses pass only as long as this node has the right to it. The kernel holds the clock, so an
/// address falls silent in time whatever becomes of the daemon: killed, frozen, stuck.
///
/// Two tables of nf_tables, both named `bramble`: one for IP, one for ARP. `guarded` holds the floating addresses of this
/// node, `open` those that may be used, each with the time left. What is guarded and not open is dropped: packets to it
/// before any translation, packets from it after any, ARP about it both ways, and neighbour discovery for it.
///
/// Transactions go straight to the kernel over netlink: 0.03 ms against 16 ms for a run of `nft`
/// (docs/decisions/0020-address-takeover.md). Tables of others are never read nor touched.
final class KernelGate {
    static let table = "bramble"

    /// A right to an address. Until then, CLOCK_BOOTTIME; nil is none: the address is guarded and closed.
    typealias Term = (address: IPAddress, until: Instant?)

    private let socket: NetlinkSocket
    /// What should be guarded, for when somebody has flushed the ruleset.
    private var guarded: [IPAddress: Instant?] = [:]

    init() throws(SystemError) { socket = try NetlinkSocket(NETLINK_NETFILTER) }

    /// Makes the tables new and empty. Whatever was there under their name is replaced in the same instant.
    func establish() throws(SystemError) {
        try socket.transact(Self.removal + Self.tables)
        guarded = [:]
    }

    /// What the kernel would say to `establish`, nothing being changed.
    func rehearse() throws(SystemError) { try socket.transact(Self.removal + Self.tables, isRehearsal: true) }

    /// Takes the tables away: for the end of a daemon that holds no address any more.
    func remove() throws(SystemError) {
        try socket.transact(Self.removal)
        guarded = [:]
    }

    /// Guards addresses and opens them for the rest of their terms, all at one instant. Again and again for a renewal. True
    /// when the tables had to be made again, because somebody had removed them.
    ///
    /// A renewal is add, delete, add in one transaction: the first makes the second succeed where the kernel has meanwhile
    /// let the element expire, and to packets the three are one. (Kernels before 6.12 keep an element's old timeout.)
    func set(_ terms: [Term]) throws(SystemError) -> Bool {
        for (address, until) in terms { guarded[address] = .some(until) }
        guard try !apply(terms) else { return false }
        // An element may expire between the first and the second step of a transaction, and somebody may have run
        // `nft flush ruleset`. Once more settles the first, all anew the second.
        guard try !apply(terms) else { return false }
        let all = guarded.sorted { $0.key < $1.key }.map { (address: $0.key, until: $0.value) }
        try socket.transact(Self.removal + Self.tables + Self.changes(all, now: SystemClock.now))
        try closeWhatIsOver(all)
        return true
    }

    /// Stops guarding: after the address has left the machine.
    func forget(_ addresses: [IPAddress]) throws(SystemError) {
        for address in addresses { guarded[address] = nil }
        do throws(SystemError) {
            try socket.transact(
                Self.elements(addresses.map { ($0, nil) }, set: "guarded", isDeletion: false)
                    + Self.elements(addresses.map { ($0, nil) }, set: "guarded", isDeletion: true))
        } catch {
            if error.code != ENOENT { throw error }
        }
    }

    /// False when something was not there.
    private func apply(_ terms: [Term]) throws(SystemError) -> Bool {
        do throws(SystemError) {
            try socket.transact(Self.changes(terms, now: SystemClock.now))
        } catch {
            guard error.code == ENOENT else { throw error }
            return false
        }
        try closeWhatIsOver(terms)
        return true
    }

    /// A daemon frozen between reading the clock and asking the kernel has asked for time that is long over when it thaws.
    private func closeWhatIsOver(_ terms: [Term]) throws(SystemError) {
        let now = SystemClock.now
        let over = terms.filter { $0.until.map { $0 <= now } ?? false }
        if !over.isEmpty { try socket.transact(Self.changes(over.map { ($0.address, nil) }, now: now)) }
    }

    // MARK: Messages

    private static func changes(_ terms: [Term], now: Instant) -> [NetlinkRequest] {
        let all = terms.map { (address: $0.address, milliseconds: UInt64?.none) }
        let open = terms.compactMap { term -> Element? in
            // Rounded down: better closed too early. nf_tables takes 0 as no limit, so nothing is opened for less.
            guard let until = term.until, (until - now).nanoseconds >= 1_000_000 else { return nil }
            return (term.address, UInt64((until - now).nanoseconds / 1_000_000))
        }
        return elements(all, set: "guarded", isDeletion: false) + elements(all, set: "open", isDeletion: false)
            + elements(all, set: "open", isDeletion: true) + elements(open, set: "open", isDeletion: false)
    }

    private typealias Element = (address: IPAddress, milliseconds: UInt64?)

    private static let inet = UInt8(1)  // NFPROTO_INET
    private static let arp = UInt8(3)  // NFPROTO_ARP

    private static func elements(_ all: [Element], set: String, isDeletion: Bool) -> [NetlinkRequest] {
        let version4 = all.filter { !$0.address.isV6 }
        let version6 = all.filter { $0.address.isV6 }
        return [(inet, "\(set)4", version4), (arp, "\(set)4", version4), (inet, "\(set)6", version6)].compactMap {
            family, set, elements in
            guard !elements.isEmpty else { return nil }
            let type = isDeletion ? NFT_MSG_DELSETELEM : NFT_MSG_NEWSETELEM
            var request = message(type.rawValue, family, flags: isDeletion ? 0 : NLM_F_CREATE)
            request.add(NFTA_SET_ELEM_LIST_TABLE.rawValue, text: table)
            request.add(NFTA_SET_ELEM_LIST_SET.rawValue, text: set)
            request.nest(NFTA_SET_ELEM_LIST_ELEMENTS.rawValue) { list in
                for element in elements {
                    list.nest(NFTA_LIST_ELEM.rawValue) { item in
                        item.nest(NFTA_SET_ELEM_KEY.rawValue) {
                            $0.add(NFTA_DATA_VALUE.rawValue, element.address.bytes)
                        }
                        if let milliseconds = element.milliseconds {
                            item.add(NFTA_SET_ELEM_TIMEOUT.rawValue, network: milliseconds)
                        }
                    }
                }
            }
            return request
        }
    }

    private static func message(_ type: UInt32, _ family: UInt8, flags: Int32 = 0) -> NetlinkRequest {
        NetlinkRequest(
            UInt32(NetfilterMessage.tables) << 8 | type, flags: flags, fixed: NetfilterMessage.header(family: family))
    }

    /// Adding first makes the deletion succeed where there is nothing.
    private static let removal: [NetlinkRequest] = [inet, arp].flatMap { family in
        [newTable(family), named(NFT_MSG_DELTABLE.rawValue, family)]
    }
    private static func newTable(_ family: UInt8) -> NetlinkRequest {
        named(NFT_MSG_NEWTABLE.rawValue, family, flags: NLM_F_CREATE)
    }
    private static func named(_ type: UInt32, _ family: UInt8, flags: Int32 = 0) -> NetlinkRequest {
        var request = message(type, family, flags: flags)
        request.add(NFTA_TABLE_NAME.rawValue, text: table)
        return request
    }

    private static let tables: [NetlinkRequest] = {
        let (prerouting, postrouting) = (UInt32(0), UInt32(4))  // NF_INET_PRE_ROUTING, NF_INET_POST_ROUTING
        let (arpIn, arpOut) = (UInt32(0), UInt32(1))  // NF_ARP_IN, NF_ARP_OUT
        let (solicitation, advertisement) = (UInt8(135), UInt8(136))  // RFC 4861
        // Priorities -300 and 300 are the kernel's "raw" and beyond "srcnat": outside of every translation.
        return [
            newTable(inet), newSet(inet, "guarded4"), newSet(inet, "open4", hasTimeout: true),
            newSet(inet, "guarded6"), newSet(inet, "open6", hasTimeout: true),
            newChain(inet, "in", hook: prerouting, priority: -300),
            newChain(inet, "out", hook: postrouting, priority: 300),
            rule("in", inet, [.version(4), .network(offset: 16, length: 4)], drops: "4"),
            rule("out", inet, [.version(4), .network(offset: 12, length: 4)], drops: "4"),
            rule("in", inet, [.version(6), .network(offset: 24, length: 16)], drops: "6"),
            rule("out", inet, [.version(6), .network(offset: 8, length: 16)], drops: "6"),
            rule("in", inet, neighbour(solicitation), drops: "6"),
            rule("out", inet, neighbour(advertisement), drops: "6"),
            newTable(arp), newSet(arp, "guarded4"), newSet(arp, "open4", hasTimeout: true),
            newChain(arp, "in", hook: arpIn, priority: 0), newChain(arp, "out", hook: arpOut, priority: 0),
            // Ethernet and IPv4: the sender's address is at 14, the one asked for at 24.
            rule("in", arp, [.network(offset: 24, length: 4)], drops: "4"),
            rule("out", arp, [.network(offset: 14, length: 4)], drops: "4"),
        ]
    }()

    private static func newSet(_ family: UInt8, _ name: String, hasTimeout: Bool = false) -> NetlinkRequest {
        let isV6 = name.hasSuffix("6")
        let flags: UInt32 = hasTimeout ? 0x10 : 0  // NFT_SET_TIMEOUT
        var request = message(NFT_MSG_NEWSET.rawValue, family, flags: NLM_F_CREATE)
        request.add(NFTA_SET_TABLE.rawValue, text: table)
        request.add(NFTA_SET_NAME.rawValue, text: name)
        request.add(NFTA_SET_FLAGS.rawValue, network: flags)
        // By this `nft list` knows how to show the elements: ipv4_addr and ipv6_addr in its numbering.
        request.add(NFTA_SET_KEY_TYPE.rawValue, network: UInt32(isV6 ? 8 : 7))
        request.add(NFTA_SET_KEY_LEN.rawValue, network: UInt32(isV6 ? 16 : 4))
        request.add(NFTA_SET_ID.rawValue, network: UInt32(name.utf8.reduce(0) { $0 &* 31 &+ UInt32($1) }))
        return request
    }

    private static func newChain(
        _ family: UInt8, _ name: String, hook: UInt32, priority: Int32
    ) -> NetlinkRequest {
        var request = message(NFT_MSG_NEWCHAIN.rawValue, family, flags: NLM_F_CREATE)
        request.add(NFTA_CHAIN_TABLE.rawValue, text: table)
        request.add(NFTA_CHAIN_NAME.rawValue, text: name)
        request.nest(NFTA_CHAIN_HOOK.rawValue) {
            $0.add(NFTA_HOOK_HOOKNUM.rawValue, network: hook)
            $0.add(NFTA_HOOK_PRIORITY.rawValue, network: priority)
        }
        request.add(NFTA_CHAIN_TYPE.rawValue, text: "filter")
        return request
    }

    /// Where a rule finds the address; each step after the first must hold for the rule to go on.
    private enum Step {
        case version(Int)
        case icmpV6(type: UInt8)
        case network(offset: UInt32, length: UInt32)
        case transport(offset: UInt32, length: UInt32)
    }
    private static func neighbour(_ type: UInt8) -> [Step] {
        [.version(6), .icmpV6(type: type), .transport(offset: 8, length: 16)]
    }

    /// Loads an address and drops the packet when it is guarded and not open.
    private static func rule(_ chain: String, _ family: UInt8, _ steps: [Step], drops sets: String) -> NetlinkRequest {
        let (network, transport) = (UInt32(1), UInt32(2))  // enum nft_payload_bases
        let (verdict, dropped) = (UInt32(0), UInt32(0))  // NFT_REG_VERDICT, NF_DROP
        var request = message(NFT_MSG_NEWRULE.rawValue, family, flags: NLM_F_CREATE | NLM_F_APPEND)
        request.add(NFTA_RULE_TABLE.rawValue, text: table)
        request.add(NFTA_RULE_CHAIN.rawValue, text: chain)
        request.nest(NFTA_RULE_EXPRESSIONS.rawValue) { list in
            for step in steps {
                switch step {
                case .version(let number):
                    list.meta(NFT_META_NFPROTO.rawValue)
                    list.compare([UInt8(number == 4 ? AF_INET : AF_INET6)])
                case .icmpV6(let type):
                    list.meta(NFT_META_L4PROTO.rawValue)
                    list.compare([58])
                    list.payload(base: transport, offset: 0, length: 1)
                    list.compare([type])
                case .network(let offset, let length): list.payload(base: network, offset: offset, length: length)
                case .transport(let offset, let length): list.payload(base: transport, offset: offset, length: length)
                }
            }
            list.lookup("guarded\(sets)")
            list.lookup("open\(sets)", isInverted: true)
            list.expression("counter") { _ in }
            list.expression("immediate") { drop in
                drop.add(NFTA_IMMEDIATE_DREG.rawValue, network: verdict)
                drop.nest(NFTA_IMMEDIATE_DATA.rawValue) { data in
                    data.nest(NFTA_DATA_VERDICT.rawValue) {
                        $0.add(NFTA_VERDICT_CODE.rawValue, network: dropped)
                    }
                }
            }
        }
        return request
    }
}

/// Expressions of nf_tables; all of them work on its first register.
extension NetlinkRequest {
    private static let register = UInt32(1)

    fileprivate mutating func expression(_ name: String, _ content: (inout NetlinkRequest) -> Void) {
        nest(NFTA_LIST_ELEM.rawValue) {
            $0.add(NFTA_EXPR_NAME.rawValue, text: name)
            $0.nest(NFTA_EXPR_DATA.rawValue, content)
        }
    }
    fileprivate mutating func meta(_ key: UInt32) {
        expression("meta") {
            $0.add(NFTA_META_KEY.rawValue, network: key)
            $0.add(NFTA_META_DREG.rawValue, network: Self.register)
        }
    }
    fileprivate mutating func payload(base: UInt32, offset: UInt32, length: UInt32) {
        expression("payload") {
            $0.add(NFTA_PAYLOAD_DREG.rawValue, network: Self.register)
            $0.add(NFTA_PAYLOAD_BASE.rawValue, network: base)
            $0.add(NFTA_PAYLOAD_OFFSET.rawValue, network: offset)
            $0.add(NFTA_PAYLOAD_LEN.rawValue, network: length)
        }
    }
    fileprivate mutating func compare(_ value: [UInt8]) {
        let equal: UInt32 = 0  // NFT_CMP_EQ
        expression("cmp") {
            $0.add(NFTA_CMP_SREG.rawValue, network: Self.register)
            $0.add(NFTA_CMP_OP.rawValue, network: equal)
            $0.nest(NFTA_CMP_DATA.rawValue) { $0.add(NFTA_DATA_VALUE.rawValue, value) }
        }
    }
    fileprivate mutating func lookup(_ set: String, isInverted: Bool = false) {
        let inverted: UInt32 = 1  // NFT_LOOKUP_F_INV
        expression("lookup") {
            $0.add(NFTA_LOOKUP_SET.rawValue, text: set)
            $0.add(NFTA_LOOKUP_SREG.rawValue, network: Self.register)
            if isInverted { $0.add(NFTA_LOOKUP_FLAGS.rawValue, network: inverted) }
        }
    }
}
