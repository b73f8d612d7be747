import Primitives
import Services
import Testing

@Suite("orders that last")
struct StandingOrdersTests {
    let node = NodeID(high: 1, low: 1)

    @Test("copies that meet in any order agree: the newest word about each subject counts")
    func mergeOrder() {
        var ours = StandingOrders()
        ours.set(node, to: .no, revision: 3)
        ours.set(ServiceName("web")!, isStopped: true, revision: 9)
        var theirs = StandingOrders()
        theirs.set(node, to: .hold, revision: 7)
        theirs.set(ServiceName("web")!, isStopped: false, revision: 2)
        var left = ours
        left.merge(theirs)
        var right = theirs
        right.merge(ours)
        #expect(left == right)
        #expect(left.standby(of: node) == .hold)
        #expect(left.isStopped(ServiceName("web")!))
    }
}
