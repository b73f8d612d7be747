import Primitives
import Services

/// The configuration of our own nginx: one server and one upstream for each HTTP balancer.
package enum NginxText {
    /// - Parameter prefix: its own directory; nothing of the machine's nginx is read or written.
    /// - Parameter hasIPv6: a machine without it refuses to listen there.
    package static func make(_ views: [BalancerView], prefix: String, user: String?, hasIPv6: Bool) -> String {
        var lines = [
            "# Written by Bramble whenever a backend comes or goes. Changes here are lost.",
            "pid \(prefix)/nginx.pid;", "error_log \(prefix)/error.log error;", "worker_processes auto;",
            "worker_rlimit_nofile 16384;",
            // A request that is under way when a backend leaves may take so long to end.
            "worker_shutdown_timeout 60s;",
        ]
        if let user { lines.append("user \(user);") }
        lines += [
            "events { worker_connections 4096; }", "http {", "  access_log off;", "  server_tokens off;",
            "  client_max_body_size 0;", "  client_body_temp_path \(prefix)/tmp/body;",
            "  proxy_temp_path \(prefix)/tmp/proxy;", "  fastcgi_temp_path \(prefix)/tmp/fastcgi;",
            "  uwsgi_temp_path \(prefix)/tmp/uwsgi;", "  scgi_temp_path \(prefix)/tmp/scgi;",
            "  map $http_upgrade $bramble_connection { default upgrade; \"\" \"\"; }",
        ]
        for view in views where view.balancer.transport == .http { lines += server(view, hasIPv6) }
        return lines.joined(separator: "\n") + "\n}\n"
    }

    private static func server(_ view: BalancerView, _ hasIPv6: Bool) -> [String] {
        let (balancer, name) = (view.balancer, "bramble_\(view.balancer.name)")
        var lines = ["  upstream \(name) {"]
        if balancer.sticky == .source { lines.append("    hash $remote_addr consistent;") }
        for backend in view.backends {
            // Those that are out stay in the list, so that the others' places on the ring do not move.
            let isOut = backend.state != .up
            // nginx's own opinion lasts as long as it takes us to have ours.
            lines.append("    server \(backend.endpoint)\(isOut ? " down" : " max_fails=1 fail_timeout=1s");")
        }
        if view.backends.isEmpty { lines.append("    server 127.0.0.1:1 down;") }
        lines += ["    keepalive 64;", "  }", "  server {"]
        if let address = balancer.listenAddress {
            lines.append("    listen \(Endpoint(address, port: balancer.listenPort));")
        } else {
            lines.append("    listen \(balancer.listenPort);")
            if hasIPv6 { lines.append("    listen [::]:\(balancer.listenPort) ipv6only=on;") }
        }
        lines += [
            "    location / {", "      proxy_pass http://\(name);", "      proxy_http_version 1.1;",
            "      proxy_set_header Host $http_host;", "      proxy_set_header X-Real-IP $remote_addr;",
            "      proxy_set_header X-Forwarded-For $proxy_add_x_forwarded_for;",
            "      proxy_set_header X-Forwarded-Proto $scheme;", "      proxy_set_header Upgrade $http_upgrade;",
            "      proxy_set_header Connection $bramble_connection;", "      proxy_connect_timeout 1s;",
            // Requests that may be sent twice are, to the next backend; others only where nothing was sent.
            "      proxy_next_upstream error timeout;", "      proxy_next_upstream_tries 3;",
            "      proxy_buffering on;", "    }", "  }",
        ]
        return lines
    }
}

/// The kernel's rules for TCP and UDP balancers: destination NAT by a hash of the source.
package enum NftablesText {
    package static let table = "bramble_balance"
    /// On connections of ours, so that answers come back through this node.
    private static let mark = "0x00b7a1ce"

    /// One transaction that replaces all that was there; nil views mean: nothing of ours any more.
    package static func make(_ views: [BalancerView]?) -> String {
        var lines = ["table inet \(table)", "delete table inet \(table)"]
        guard let views else { return lines.joined(separator: "\n") + "\n" }
        let rules = views.filter { $0.balancer.transport != .http }.flatMap(rules)
        lines.append("table inet \(table) {")
        lines.append("  chain before { type nat hook prerouting priority dstnat; policy accept;")
        lines += rules
        lines.append("  }")
        lines.append("  chain out { type nat hook output priority -100; policy accept;")
        lines += rules
        lines.append("  }")
        lines.append("  chain after { type nat hook postrouting priority srcnat; policy accept;")
        lines += ["    ct mark \(mark) masquerade", "  }"]
        lines.append("}")
        return lines.joined(separator: "\n") + "\n"
    }

    private static func rules(_ view: BalancerView) -> [String] {
        let balancer = view.balancer
        return [4, 16].compactMap { length -> String? in
            let live = view.live.filter { $0.endpoint.address.bytes.count == length }
            guard !live.isEmpty else { return nil }
            let isV4 = length == 4
            let own = view.addresses.filter { $0.bytes.count == length }
            if !view.addresses.isEmpty, own.isEmpty { return nil }
            let family = isV4 ? "ip" : "ip6"
            let place =
                own.isEmpty
                ? "meta nfproto \(isV4 ? "ipv4" : "ipv6") fib daddr type local"
                : "\(family) daddr { \(own.map(\.description).joined(separator: ", ")) }"
            // A source keeps its backend; without stickiness each of its connections is placed by itself.
            let key =
                balancer.sticky == .source
                ? "jhash \(family) saddr" : "jhash \(family) saddr . \(balancer.transport.rawValue) sport"
            return "    \(place) \(balancer.transport.rawValue) dport \(balancer.listenPort) ct mark set \(mark) dnat "
                + "\(family) to \(key) mod \(Slots.count) seed 0x62726d62 map { \(map(live)) }"
        }
    }

    /// Slots that follow each other and have one backend are one range.
    private static func map(_ live: [Backend]) -> String {
        let owners = Slots.owners(live.map(\.node.description))
        var parts: [String] = []
        var first = 0
        for slot in owners.indices where slot + 1 == owners.count || owners[slot + 1] != owners[first] {
            let range = first == slot ? "\(first)" : "\(first)-\(slot)"
            let endpoint = live[owners[first]].endpoint
            parts.append("\(range) : \(endpoint.address) . \(endpoint.port)")
            first = slot + 1
        }
        return parts.joined(separator: ", ")
    }
}
