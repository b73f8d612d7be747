import CAvahi
import Glibc
import Logging
package import Primitives
import Reactor

/// One running multicast DNS stack (libavahi-core): publishes one service, browses for others. The only file that calls
/// libavahi's server. On the event loop only; freeing it says goodbye on the network.
final class Responder: @unchecked Sendable {
    enum Report: Sendable {
        case found(SightingTable.Appearance, txt: [UInt8], Endpoint)
        case lost(SightingTable.Appearance)
        /// Another machine claims our name, which is made from our identity.
        case collision
        case failed(String)
    }
    struct Failure: Error {
        let code: Int32
        var text: String { String(cString: avahi_strerror(code)) }
    }
    /// What is published: one service, and the addresses behind it, each on its own interface.
    struct Service: Equatable, Sendable {
        var announcement: Announcement
        var port: UInt16
        var addresses: [PublishedAddress]
    }

    static let type = "_bramble._tcp"
    /// Machines that wait for an invitation can be browsed for alone (RFC 6763 §7.1).
    static let waitingType = "_waiting._sub._bramble._tcp"
    /// RFC 6762 §10: what names a host, and everything else. A waiting machine is to disappear soon when it is switched off.
    private static let hostLifetime: UInt32 = 120
    private static let serviceLifetime: UInt32 = 75 * 60
    private static let maximumResolvers = 1024
    private static let retryResolve: Duration = .seconds(30)

    private let loop: EventLoop
    private let poll: AvahiPollAdapter
    private let report: @Sendable (Report) -> Void
    private var server: OpaquePointer?
    private var group: OpaquePointer?
    private var browser: OpaquePointer?
    private var browsedType: String?
    private var resolvers: [SightingTable.Appearance: Resolver] = [:]
    private var service: Service?
    private let hostName: String

    init(
        on loop: EventLoop, id: NodeID, isPublishing: Bool = true, _ report: @escaping @Sendable (Report) -> Void
    ) throws(Failure) {
        self.loop = loop
        self.report = report
        poll = AvahiPollAdapter(on: loop)
        // Made from the identity, so that it is ours alone and tells nobody anything.
        hostName = "bramble-\(id)"
        avahi_set_log_function(logOfAvahi)

        var config = AvahiServerConfig()
        avahi_server_config_init(&config)
        defer { avahi_server_config_free(&config) }
        avahi_free(config.host_name)
        config.host_name = avahi_strdup(hostName)
        config.use_ipv4 = 1
        config.use_ipv6 = 1
        config.deny_interfaces = avahi_string_list_add(nil, "lo")
        // Beside avahi-daemon: whoever publishes the reverse names of the machine's addresses collides with it.
        config.publish_addresses = 0
        config.publish_hinfo = 0
        config.publish_workstation = 0
        config.publish_domain = 0
        config.enable_wide_area = 0
        config.disallow_other_stacks = 0
        config.ratelimit_interval = 1_000_000
        config.ratelimit_burst = 200

        var code: Int32 = 0
        let context = Unmanaged.passUnretained(self).toOpaque()
        guard let made = avahi_server_new(poll.api, &config, serverChanged, context, &code) else {
            throw Failure(code: code)
        }
        server = made
    }
    deinit { precondition(server == nil, "a responder is closed before it is let go") }

    /// Takes back what was published, and says so on the network.
    func close() {
        guard let server else { return }
        self.server = nil
        stopBrowsing()
        if let group { avahi_s_entry_group_free(group) }
        group = nil
        avahi_server_free(server)
    }

    // MARK: Publishing

    func publish(_ wanted: Service?) {
        guard wanted != service else { return }
        service = wanted
        republish()
    }

    private func republish() {
        guard let server else { return }
        if let group { avahi_s_entry_group_reset(group) }
        guard let service, !service.addresses.isEmpty else { return }
        if group == nil {
            let context = Unmanaged.passUnretained(self).toOpaque()
            group = avahi_s_entry_group_new(server, groupChanged, context)
        }
        guard let group else { return report(.failed(Failure(code: avahi_server_errno(server)).text)) }
        do throws(Failure) {
            try addRecords(of: service, to: group, of: server)
            let code = avahi_s_entry_group_commit(group)
            guard code >= 0 else { throw Failure(code: code) }
        } catch {
            report(.failed(error.text))
        }
    }

    /// The records of DNS-SD one by one, because only so their names can be told to be ours without asking around first
    /// (probing takes 0.75 s; RFC 6762 §8.1 leaves it out for names that are unique by construction).
    private func addRecords(of service: Service, to group: OpaquePointer, of server: OpaquePointer) throws(Failure) {
        let host = "\(hostName).local"
        let instance = "\(service.announcement.id).\(Self.type).local"
        let isWaiting = service.announcement.isWaiting
        let lifetime = isWaiting ? Self.hostLifetime : Self.serviceLifetime
        let ours: [AvahiPublishFlags] = [AVAHI_PUBLISH_UNIQUE, AVAHI_PUBLISH_NO_PROBE, AVAHI_PUBLISH_ALLOW_MULTIPLE]

        func add(
            _ name: String, _ type: Int32, lifetime: UInt32, flags: [AvahiPublishFlags] = [], interface: Int32 = -1,
            fill: (UnsafeMutablePointer<AvahiRecord>) -> Void
        ) throws(Failure) {
            guard let record = avahi_record_new_full(name, UInt16(AVAHI_DNS_CLASS_IN), UInt16(type), lifetime) else {
                throw Failure(code: Int32(AVAHI_ERR_NO_MEMORY))
            }
            defer { avahi_record_unref(record) }
            fill(record)
            let bits = AvahiPublishFlags(flags.reduce(0) { $0 | $1.rawValue })
            let code = avahi_server_add(server, group, interface, AvahiProtocol(AVAHI_PROTO_UNSPEC), bits, record)
            guard code >= 0 else { throw Failure(code: code) }
        }
        for published in service.addresses {
            let bytes = published.address.bytes
            let type = bytes.count == 4 ? Int32(AVAHI_DNS_TYPE_A) : Int32(AVAHI_DNS_TYPE_AAAA)
            try add(host, type, lifetime: Self.hostLifetime, flags: ours, interface: published.interface) { record in
                withUnsafeMutableBytes(of: &record.pointee.data) { $0.copyBytes(from: bytes) }
            }
        }
        try add(instance, Int32(AVAHI_DNS_TYPE_SRV), lifetime: Self.hostLifetime, flags: ours) { record in
            record.pointee.data.srv.priority = 0
            record.pointee.data.srv.weight = 0
            record.pointee.data.srv.port = service.port
            record.pointee.data.srv.name = avahi_strdup(host)
        }
        try add(instance, Int32(AVAHI_DNS_TYPE_TXT), lifetime: lifetime, flags: ours) { record in
            // The list is kept in reverse.
            record.pointee.data.txt.string_list = service.announcement.strings.reversed().reduce(nil) { list, text in
                avahi_string_list_add(list, text)
            }
        }
        var pointers = [("\(Self.type).local", instance), ("_services._dns-sd._udp.local", "\(Self.type).local")]
        if isWaiting { pointers.append(("\(Self.waitingType).local", instance)) }
        for (name, target) in pointers {
            try add(name, Int32(AVAHI_DNS_TYPE_PTR), lifetime: lifetime) { record in
                record.pointee.data.ptr.name = avahi_strdup(target)
            }
        }
    }

    fileprivate func groupStateChanged(_ state: AvahiEntryGroupState) {
        if state == AVAHI_ENTRY_GROUP_COLLISION { report(.collision) }
        if state == AVAHI_ENTRY_GROUP_FAILURE { report(.failed("the service could not be published")) }
    }
    fileprivate func serverStateChanged(_ state: AvahiServerState) {
        if state == AVAHI_SERVER_FAILURE { report(.failed("the multicast DNS stack stopped")) }
    }

    // MARK: Browsing

    /// Looks for services of a type; nil stops looking.
    func browse(_ type: String?) {
        guard type != browsedType, let server else { return }
        stopBrowsing()
        guard let type else { return }
        let context = Unmanaged.passUnretained(self).toOpaque()
        browser = avahi_s_service_browser_new(
            server, Int32(AVAHI_IF_UNSPEC), AvahiProtocol(AVAHI_PROTO_UNSPEC), type, nil, AvahiLookupFlags(0),
            browsed, context)
        guard browser != nil else { return report(.failed(Failure(code: avahi_server_errno(server)).text)) }
        browsedType = type
    }
    private func stopBrowsing() {
        for resolver in resolvers.values { resolver.free() }
        resolvers = [:]
        if let browser { avahi_s_service_browser_free(browser) }
        (browser, browsedType) = (nil, nil)
    }

    fileprivate func appeared(_ appearance: SightingTable.Appearance, domain: String) {
        guard resolvers[appearance] == nil, resolvers.count < Self.maximumResolvers else { return }
        let resolver = Resolver(owner: self, appearance: appearance, domain: domain)
        resolvers[appearance] = resolver
        start(resolver)
    }
    fileprivate func disappeared(_ appearance: SightingTable.Appearance) {
        resolvers.removeValue(forKey: appearance)?.free()
        report(.lost(appearance))
    }
    fileprivate func browsingFailed() {
        report(.failed(server.map { Failure(code: avahi_server_errno($0)).text } ?? "the browser stopped"))
    }

    private func start(_ resolver: Resolver) {
        guard let server else { return }
        let appearance = resolver.appearance
        let family = AvahiProtocol(appearance.isV6 ? AVAHI_PROTO_INET6 : AVAHI_PROTO_INET)
        resolver.handle = avahi_s_service_resolver_new(
            server, appearance.interface, family, appearance.instance, Self.type, resolver.domain, family,
            AvahiLookupFlags(0), resolved, Unmanaged.passUnretained(resolver).toOpaque())
        if resolver.handle == nil { retry(resolver) }
    }
    /// An address of one family may never come (none is published): asked for again, rarely.
    fileprivate func retry(_ resolver: Resolver) {
        resolver.free()
        resolver.retry = loop.schedule(after: Self.retryResolve) { [weak self] in
            guard let self, self.resolvers[resolver.appearance] === resolver else { return }
            resolver.retry = nil
            self.start(resolver)
        }
    }
    fileprivate func resolvedService(_ resolver: Resolver, txt: [UInt8], _ endpoint: Endpoint) {
        report(.found(resolver.appearance, txt: txt, endpoint))
    }

    fileprivate final class Resolver: @unchecked Sendable {
        unowned let owner: Responder
        let appearance: SightingTable.Appearance
        let domain: String
        var handle: OpaquePointer?
        var retry: EventLoop.Registration?
        init(owner: Responder, appearance: SightingTable.Appearance, domain: String) {
            self.owner = owner
            self.appearance = appearance
            self.domain = domain
        }
        func free() {
            if let handle { avahi_s_service_resolver_free(handle) }
            handle = nil
            if let retry { owner.loop.cancel(retry) }
            retry = nil
        }
    }
}

/// An address and the interface it is told on.
package struct PublishedAddress: Hashable, Sendable {
    package var address: IPAddress
    /// The kernel's number of it.
    package var interface: Int32
    package init(address: IPAddress, interface: Int32) {
        self.address = address
        self.interface = interface
    }
}

// MARK: Called by libavahi, on the loop

private func responder(_ context: UnsafeMutableRawPointer?) -> Responder {
    Unmanaged<Responder>.fromOpaque(context!).takeUnretainedValue()
}
private func serverChanged(_ server: OpaquePointer?, _ state: AvahiServerState, _ context: UnsafeMutableRawPointer?) {
    responder(context).serverStateChanged(state)
}
private func groupChanged(
    _ server: OpaquePointer?, _ group: OpaquePointer?, _ state: AvahiEntryGroupState,
    _ context: UnsafeMutableRawPointer?
) {
    responder(context).groupStateChanged(state)
}
private func browsed(
    _ browser: OpaquePointer?, _ interface: AvahiIfIndex, _ family: AvahiProtocol, _ event: AvahiBrowserEvent,
    _ name: UnsafePointer<CChar>?, _ type: UnsafePointer<CChar>?, _ domain: UnsafePointer<CChar>?,
    _ flags: AvahiLookupResultFlags, _ context: UnsafeMutableRawPointer?
) {
    let owner = responder(context)
    if event == AVAHI_BROWSER_FAILURE { return owner.browsingFailed() }
    guard event == AVAHI_BROWSER_NEW || event == AVAHI_BROWSER_REMOVE, let name, let domain else { return }
    let appearance = SightingTable.Appearance(
        instance: String(cString: name), interface: interface, isV6: family == Int32(AVAHI_PROTO_INET6))
    if event == AVAHI_BROWSER_NEW {
        owner.appeared(appearance, domain: String(cString: domain))
    } else {
        owner.disappeared(appearance)
    }
}
private func resolved(
    _ handle: OpaquePointer?, _ interface: AvahiIfIndex, _ family: AvahiProtocol, _ event: AvahiResolverEvent,
    _ name: UnsafePointer<CChar>?, _ type: UnsafePointer<CChar>?, _ domain: UnsafePointer<CChar>?,
    _ host: UnsafePointer<CChar>?, _ address: UnsafePointer<AvahiAddress>?, _ port: UInt16,
    _ txt: UnsafeMutablePointer<AvahiStringList>?, _ flags: AvahiLookupResultFlags, _ context: UnsafeMutableRawPointer?
) {
    let resolver = Unmanaged<Responder.Resolver>.fromOpaque(context!).takeUnretainedValue()
    guard event == AVAHI_RESOLVER_FOUND, let address else { return resolver.owner.retry(resolver) }
    let isV4 = address.pointee.proto == Int32(AVAHI_PROTO_INET)
    let bytes = withUnsafeBytes(of: address.pointee.data) { Array($0.prefix(isV4 ? 4 : 16)) }
    guard let found = IPAddress(bytes: bytes) else { return }
    var content = [UInt8](repeating: 0, count: Announcement.maximumSize + 256)
    let count = avahi_string_list_serialize(txt, &content, content.count)
    resolver.owner.resolvedService(resolver, txt: Array(content.prefix(count)), Endpoint(found, port: port))
}
private func logOfAvahi(_ level: AvahiLogLevel, _ text: UnsafePointer<CChar>?) {
    guard let text else { return }
    Log.debug("multicast DNS: \(String(cString: text))")
}
