package import Primitives
import Services

/// The configuration of our own nginx: one server and one upstream for each HTTP balancer.
package enum NginxText {
    /// Where it is on the machine.
    package struct Place: Sendable {
        /// Its own directory; nothing of the machine's nginx is read or written.
        package var prefix: String
        /// For bodies that do not fit into memory: its workers must be able to reach it, whoever may read the prefix.
        package var temporary: String
        /// Its workers' user, or user and group; nil where it runs as whoever runs us.
        package var user: String?
        /// A machine without it refuses to listen there.
        package var hasIPv6: Bool

        package init(prefix: String, temporary: String, user: String?, hasIPv6: Bool) {
            self.prefix = prefix
            self.temporary = temporary
            self.user = user
            self.hasIPv6 = hasIPv6
        }
    }

    /// - Parameter closed: what the gate in the kernel keeps nginx from; nil where there is no gate. With one, nginx is not
    ///   told of backends that come and go: it would have to be started anew, and clients would lose the connections they
    ///   keep open.
    package static func make(_ views: [BalancerView], at place: Place, closed: Set<Endpoint>?) -> String {
        var lines = [
            "# Written by Bramble whenever a balancer or a node comes or goes. Changes here are lost.",
            // Refused connections are no errors here: with a gate there are many, and all of them are meant.
            "pid \(place.prefix)/nginx.pid;", "error_log \(place.prefix)/error.log crit;", "worker_processes auto;",
            "worker_rlimit_nofile 16384;",
            // A request that is under way when the file changes may take so long to end.
            "worker_shutdown_timeout 60s;",
        ]
        if let user = place.user { lines.append("user \(user);") }
        lines += [
            "events { worker_connections 4096; }", "http {", "  access_log off;", "  server_tokens off;",
            "  client_max_body_size 0;", "  client_body_temp_path \(place.temporary)/body;",
            "  proxy_temp_path \(place.temporary)/proxy;", "  fastcgi_temp_path \(place.temporary)/fastcgi;",
            "  uwsgi_temp_path \(place.temporary)/uwsgi;", "  scgi_temp_path \(place.temporary)/scgi;",
            "  map $http_upgrade $bramble_connection { default upgrade; \"\" \"\"; }",
        ]
        for view in views where view.balancer.transport == .http { lines += server(view, place, closed) }
        return lines.joined(separator: "\n") + "\n}\n"
    }

    private static func server(_ view: BalancerView, _ place: Place, _ closed: Set<Endpoint>?) -> [String] {
        let (balancer, name) = (view.balancer, "bramble_\(view.balancer.name)")
        var lines = ["  upstream \(name) {"]
        if balancer.sticky == .source { lines.append("    hash $remote_addr consistent;") }
        for backend in view.backends {
            // Those that are out stay in the list, so that the others' places on the ring do not move.
            let isOut = backend.state != .up && !(closed?.contains(backend.endpoint) ?? false)
            // Without a gate nginx has an opinion of its own for as long as it takes us to have ours. With one it must have
            // none: who comes back would be left out for a second, in which another one may leave.
            let opinion = closed == nil ? "max_fails=1 fail_timeout=1s" : "max_fails=0"
            lines.append("    server \(backend.endpoint) \(isOut ? "down" : opinion);")
        }
        if view.backends.isEmpty { lines.append("    server 127.0.0.1:1 down;") }
        // A connection to a backend that leaves is given up soon, whether it is used or not.
        lines += ["    keepalive 64;", "    keepalive_time 1s;", "    keepalive_timeout 1s;", "  }", "  server {"]
        if let address = balancer.listenAddress {
            lines.append("    listen \(Endpoint(address, port: balancer.listenPort));")
        } else {
            lines.append("    listen \(balancer.listenPort);")
            if place.hasIPv6 { lines.append("    listen [::]:\(balancer.listenPort) ipv6only=on;") }
        }
        lines += [
            "    location / {", "      proxy_pass http://\(name);", "      proxy_http_version 1.1;",
            "      proxy_set_header Host $http_host;", "      proxy_set_header X-Real-IP $remote_addr;",
            "      proxy_set_header X-Forwarded-For $proxy_add_x_forwarded_for;",
            "      proxy_set_header X-Forwarded-Proto $scheme;", "      proxy_set_header Upgrade $http_upgrade;",
            "      proxy_set_header Connection $bramble_connection;", "      proxy_connect_timeout 1s;",
            // Requests that may be sent twice are, to the next backend; others only where nothing was sent.
            "      proxy_next_upstream error timeout;", "      proxy_next_upstream_tries \(closed == nil ? 3 : 0);",
            "      proxy_buffering on;", "    }", "  }",
        ]
        return lines
    }
}

/// The kernel's rules: for TCP and UDP balancers destination NAT by a hash of the source, for HTTP who is kept from whom.
package enum NftablesText {
    package static let table = "bramble_balance"
    /// On connections of ours, so that answers come back through this node.
    private static let mark = "0x00b7a1ce"

    /// One transaction that replaces all rules that were there; nil views mean: nothing of ours any more.
    ///
    /// The chains stay: where they are replaced, too, a packet that is on its way through the old ones finds no rule in them,
    /// and its connection is not balanced for as long as it lasts. Two of 33,000 new connections were lost in 200 changes.
    package static func make(_ views: [BalancerView]?) -> String {
        guard let views else { return "table inet \(table)\ndelete table inet \(table)\n" }
        let rules = views.filter { $0.balancer.transport != .http }.flatMap(rules)
        let hooks = [
            ("before", "prerouting priority dstnat", rules), ("out", "output priority -100", rules),
            ("after", "postrouting priority srcnat", ["    ct mark \(mark) masquerade"]),
        ]
        var lines = ["table inet \(table) {"]
        lines += hooks.map { "  chain \($0.0) { type nat hook \($0.1); policy accept; }" }
        lines += ["}", "flush table inet \(table)", "table inet \(table) {"]
        for (name, _, rules) in hooks { lines += ["  chain \(name) {"] + rules + ["  }"] }
        return (lines + ["}"]).joined(separator: "\n") + "\n"
    }

    private static func rules(_ view: BalancerView) -> [String] {
        let balancer = view.balancer
        return [4, 16].flatMap { length -> [String] in
            let live = view.live.filter { $0.endpoint.address.bytes.count == length }
            guard !live.isEmpty else { return [] }
            let isV4 = length == 4
            let own = view.addresses.filter { $0.bytes.count == length }
            if !view.addresses.isEmpty, own.isEmpty { return [] }
            let family = isV4 ? "ip" : "ip6"
            let place =
                own.isEmpty
                ? "meta nfproto \(isV4 ? "ipv4" : "ipv6") fib daddr type local"
                : "\(family) daddr { \(own.map(\.description).joined(separator: ", ")) }"
            // A source keeps its backend; without stickiness each of its connections is placed by itself.
            let key =
                balancer.sticky == .source
                ? "jhash \(family) saddr" : "jhash \(family) saddr . \(balancer.transport.rawValue) sport"
            // One rule for each backend, with the slots that are its own, and no map from slots to backends: while a map is
            // replaced, a packet that is on its way through the old rules finds nothing in it.
            let owners = Slots.owners(live.map(\.node.description))
            return live.indices.compactMap { index in
                let slots = owners.indices.filter { owners[$0] == index }.map { "\($0)" }
                guard !slots.isEmpty else { return nil }
                let hash =
                    live.count == 1
                    ? "" : "\(key) mod \(Slots.count) seed 0x62726d62 { \(slots.joined(separator: ", ")) } "
                return "    \(place) \(balancer.transport.rawValue) dport \(balancer.listenPort) \(hash)"
                    + "ct mark set \(mark) dnat \(family) to \(live[index].endpoint)"
            }
        }
    }

    /// Keeps processes of this user and group from new connections to these endpoints. Nil: nothing of ours any more.
    ///
    /// They are refused at once, as if nobody listened there, so that whoever asks goes on to the next. What is open stays open.
    package static func gate(_ closed: Set<Endpoint>?, user: String, group: String) -> String {
        let table = "bramble_http"
        var lines = ["table inet \(table)", "delete table inet \(table)"]
        guard let closed, !closed.isEmpty else { return lines.joined(separator: "\n") + "\n" }
        lines += ["table inet \(table) {", "  chain out { type filter hook output priority filter; policy accept;"]
        for length in [4, 16] {
            let endpoints = closed.filter { $0.address.bytes.count == length }
                .map { "\($0.address) . \($0.port)" }.sorted()
            guard !endpoints.isEmpty else { continue }
            lines.append(
                "    tcp flags & (syn | ack) == syn meta skuid \"\(user)\" meta skgid \"\(group)\" "
                    + "\(length == 4 ? "ip" : "ip6") daddr . tcp dport { \(endpoints.joined(separator: ", ")) } "
                    + "reject with tcp reset")
        }
        lines += ["  }", "}"]
        return lines.joined(separator: "\n") + "\n"
    }
}
