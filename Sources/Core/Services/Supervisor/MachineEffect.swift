package import Primitives

/// Every way in which services change a computer. Whoever reads this list knows all that Bramble may do to a machine.
///
/// Every order is idempotent and carries its number; what came of it is reported as `ServiceEvent.finished` with that
/// number. Orders for one service are carried out in the order given; those of different services side by side.
/// An order that is replaced by a newer one for the same part need not be reported.
package struct MachineEffect: Equatable, Sendable {
    package var order: OrderNumber
    package var service: ServiceName
    package var action: Action

    package init(order: OrderNumber, service: ServiceName, action: Action) {
        self.order = order
        self.service = service
        self.action = action
    }

    package enum Action: Equatable, Sendable {
        /// Let traffic and ARP for these addresses pass until then, and arm the guard that kills the service at that time.
        /// The service's own processes live in the guarded cgroup, so this comes before `start`.
        case openGate([FloatingAddress], epoch: Epoch, until: Instant)
        /// The lease was renewed. Sent from the pulse, at every renewal; no answer.
        case renewGate(epoch: Epoch, until: Instant)
        /// Drop traffic for the addresses at once and disarm the guard.
        case closeGate([FloatingAddress])
        /// Ask the network whether anybody else has the addresses; fails with who answered.
        case probe(AddressPlan)
        /// Put the addresses on, announce them, and put them back when somebody takes them off.
        case holdAddresses(AddressPlan, epoch: Epoch)
        case releaseAddresses(AddressPlan)
        /// Start the processes. `epoch` goes into their environment as BRAMBLE_EPOCH.
        case start(RunPlan, epoch: Epoch, within: Duration)
        /// Stop them; when they have not ended by then, kill all of them. Succeeds only when nothing of it is left.
        case stop(RunPlan, within: Duration)
        /// One check. For `.monitor` the runner's own.
        case check(Check, RunPlan?, addresses: [FloatingAddress], within: Duration)
        /// This node is the source of these mirrors from now on, with this epoch.
        case feedMirrors([ServiceName], epoch: Epoch)
        /// Push nothing more. With `flush`, first send what the others do not have yet, for as long as that.
        case stopMirrors([ServiceName], flush: Duration)
    }
}

/// Which order a result belongs to. Grows for as long as the daemon runs.
package struct OrderNumber: Hashable, Comparable, Sendable, CustomStringConvertible {
    package let number: UInt64
    package init(_ number: UInt64) { self.number = number }
    package var description: String { "#\(number)" }
    package static func < (left: OrderNumber, right: OrderNumber) -> Bool { left.number < right.number }
}

/// What the takeover driver needs to know about a service's addresses.
package struct AddressPlan: Hashable, Sendable {
    package var addresses: [FloatingAddress]
    package var mac: MACMode
    package var interface: String?

    package init(addresses: [FloatingAddress], mac: MACMode, interface: String?) {
        self.addresses = addresses
        self.mac = mac
        self.interface = interface
    }
    package init(_ service: Service) {
        self.init(addresses: service.addresses, mac: service.mac, interface: service.interface)
    }
}

/// What the runners need to know about a service's processes.
package struct RunPlan: Hashable, Sendable {
    package var run: Run
    package var parameters: [Service.Parameter]

    package init(run: Run, parameters: [Service.Parameter]) {
        self.run = run
        self.parameters = parameters
    }
    package init?(_ service: Service) {
        guard let run = service.run else { return nil }
        self.init(run: run, parameters: service.parameters)
    }
}

/// What came of an order.
package enum OrderResult: Equatable, Sendable {
    case done
    case failed(Failure)

    package struct Failure: Equatable, Sendable {
        /// How far it reaches, in OCF's three classes (exit codes 1; 2 to 5; 6).
        package enum Reach: String, Sendable {
            /// May work next time, here too.
            case passing
            /// Cannot work on this node: not installed, no permission, an interface that is not there.
            case here
            /// Cannot work anywhere: its settings are wrong.
            case everywhere
        }
        package var reach: Reach
        /// In the operator's words: an agent's `ocf-exit-reason`, a unit's last line, who has the address.
        package var text: String

        package init(_ text: String, reach: Reach = .passing) {
            self.reach = reach
            self.text = text
        }
    }
}
