package import Processes
package import Services

extension SpawnFailure {
    /// Is something missing on this machine, or would trying again help?
    package var reach: OrderResult.Failure.Reach { isMissing ? .here : .passing }
}
