import Lab

/// A membership daemon on every host of a lab, started and asked in the same way whichever it is.
///
/// Nodes are numbers from 0. Moments are seconds of CLOCK_MONOTONIC, which all hosts of a lab share.
protocol Contender: AnyObject {
    var name: String { get }
    /// What has to be there before the start, such as a key.
    func prepare(_ node: Int) throws
    func launch(_ node: Int, joining: Joining) throws
    func process(_ node: Int) -> LabProcess?
    /// Tells the daemon to leave, and ends it.
    func leave(_ node: Int) throws
    /// When `observer` first noticed this about `subject` after a moment; nil when it has not.
    func noticed(_ news: News, about subject: Int, by observer: Int, after moment: Double) -> Double?
    /// Whether this node believes exactly these to be alive.
    func believes(_ observer: Int, alive: Set<Int>) -> Bool
    /// Seconds from `moment` until this node, just started, is a full member again.
    func untilMember(_ node: Int, of all: Set<Int>, after moment: Double, within limit: Duration) -> Double?
    /// How long between two looks: as short as it is cheap.
    var pollInterval: Duration { get }
    /// How often any node declared one of these down after a moment.
    func downVerdicts(about subjects: Set<Int>, by observers: Set<Int>, after moment: Double) -> Int
}

/// Where a node looks for the others.
enum Joining { case addresses, discovery }
enum News { case alive, down }

extension Contender {
    func kill(_ node: Int) { process(node)?.kill() }
    func log(_ node: Int) -> String { process(node)?.output ?? "" }

    /// Seconds from `moment` until every observer has noticed; nil when one has not within the limit.
    func untilAllNotice(
        _ news: News, about subject: Int, observers: Set<Int>, after moment: Double, within limit: Duration
    ) -> Double? {
        var last = moment
        for observer in observers.sorted() {
            let when = eventually(within: limit, every: pollInterval) {
                noticed(news, about: subject, by: observer, after: moment)
            }
            guard let when else { return nil }
            last = max(last, when)
        }
        return last - moment
    }

    /// Seconds from `moment` until all believe the same; nil when they do not within the limit.
    func untilAllBelieve(alive: Set<Int>, observers: Set<Int>, after moment: Double, within limit: Duration) -> Double?
    {
        let agreed = eventually(within: limit, every: pollInterval) {
            observers.allSatisfy { believes($0, alive: alive) }
        }
        return agreed ? monotonicSeconds() - moment : nil
    }
}
