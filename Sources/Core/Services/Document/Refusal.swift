import Primitives

/// What is wrong with one value of a document, and what would be right.
package struct Refusal: OperatorError, Equatable {
    package let problem: String
    package let remedy: String
    package init(_ problem: String, remedy: String) {
        self.problem = problem
        self.remedy = remedy
    }
}
