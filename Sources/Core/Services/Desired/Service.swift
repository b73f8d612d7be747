package import Primitives

/// A service as people ask for it: addresses that move with it, something to run, how to tell that it works, and where.
package struct Service: Equatable, Sendable {
    package var name: ServiceName
    /// Floating addresses, in the order given; the first is the one shown.
    package var addresses: [FloatingAddress] = []
    package var mac = MACMode.own
    /// The interface the addresses go to; nil for the one whose network they are in.
    package var interface: String?
    package var run: Run?
    /// An OCF agent's parameters, or more environment for anything else; sorted by name.
    package var parameters: [Parameter] = []
    package var check: Check?
    /// Between two checks, counted from the end of one. Default 5 s.
    package var every: Duration = .seconds(5)
    /// Start once these run, stop before they do.
    package var after: [ServiceName] = []
    /// The nodes that should run it, best first. Without: wherever there is most room.
    package var prefer: [NodeName] = []
    /// Go back to a better node as soon as it can. Default no: each move is an interruption.
    package var failback = false
    package var mirrors: [ServiceName] = []
    package var limits = Limits()

    package init(name: ServiceName) { self.name = name }

    package struct Parameter: Hashable, Sendable {
        package var name: String
        package var value: String
        package init(_ name: String, _ value: String) {
            self.name = name
            self.value = value
        }
    }

    package struct Limits: Hashable, Sendable {
        /// A start that takes longer has failed. Default 60 s, what OCF agents are commonly given.
        package var startWithin: Duration = .seconds(60)
        /// A stop that takes longer is made to: SIGKILL for all of its processes. Default 30 s.
        package var stopWithin: Duration = .seconds(30)
        /// A check that takes longer has failed. Default 5 s.
        package var checkWithin: Duration = .seconds(5)
        /// Failed checks in a row until it is taken to be broken. Default 2.
        package var failures = 2
        /// Restarts in ten minutes until another node has a try. Default 3.
        package var restarts = 3
        package init() {}
    }
}

/// An address that moves: `192.168.1.50/24`.
package struct FloatingAddress: Hashable, Comparable, Sendable, CustomStringConvertible {
    package var address: IPAddress
    package var prefixLength: UInt8

    package init(_ address: IPAddress, prefixLength: UInt8) {
        self.address = address
        self.prefixLength = prefixLength
    }
    package var description: String { "\(address)/\(prefixLength)" }
    package static func < (left: FloatingAddress, right: FloatingAddress) -> Bool {
        left.address != right.address ? left.address < right.address : left.prefixLength < right.prefixLength
    }
}

/// Which hardware address answers for a floating address.
package enum MACMode: String, Hashable, CaseIterable, Sendable {
    /// The interface's own; neighbours are told of the change.
    case own
    /// 00:00:5e:00:01:xx on a macvlan, which moves with the address.
    case virtual
    /// A spare interface takes the peer's, as clusterd did.
    case takeover
}

/// What is started and stopped.
package enum Run: Hashable, Sendable {
    /// `systemd:smbd`
    case systemd(unit: String)
    /// `ocf:heartbeat:nginx`
    case ocf(provider: String, agent: String)
    /// `script:/etc/init.d/x`: called with start, stop and status.
    case script(path: String)
    /// `exec:[/usr/bin/x, -f]`: stays in the foreground.
    case exec([String])
}

/// How a service is asked whether it works.
package enum Check: Hashable, Sendable {
    /// `tcp:445`: a connection is accepted. Without a host: the first floating address, or 127.0.0.1.
    case tcp(host: String?, port: UInt16)
    /// `http://:8080/health`: a status from 200 to 399.
    case http(host: String?, port: UInt16, path: String)
    /// `exec:[...]`: exit code 0.
    case exec([String])
    /// `monitor`: the runner's own way, such as an OCF agent's monitor action or systemd's state.
    case monitor
}
