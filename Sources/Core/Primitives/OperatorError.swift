/// An error an operator reads: what did not happen, and what to do next. One line each.
///
/// Details for developers go to the log.
package protocol OperatorError: Error, Sendable {
    var problem: String { get }
    var remedy: String { get }
}
