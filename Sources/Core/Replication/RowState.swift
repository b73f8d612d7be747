/// One change of one row, as its writer made it.
///
/// Columns are numbers, given by whoever holds the table; they mean the same as long as the table's definition stays.
package struct RowChange: Equatable, Sendable {
    package enum Kind: UInt8, Sendable, CaseIterable {
        /// The row begins: it stamps all its columns, also those it does not name (they have their default).
        case insert = 1
        /// Some columns have new values. Never makes a row appear.
        case update = 2
        case delete = 3
    }
    package struct Cell: Equatable, Sendable {
        package let column: Int
        package let value: SQLValue
        package init(_ column: Int, _ value: SQLValue) {
            self.column = column
            self.value = value
        }
    }
    /// Of a counter: all its writer has added since the row was last deleted.
    package struct Sum: Equatable, Sendable {
        package let column: Int
        package let sum: Int64
        package init(_ column: Int, _ sum: Int64) {
            self.column = column
            self.sum = sum
        }
    }
    package var kind: Kind
    package let stamp: Stamp
    package let cells: [Cell]
    package let sums: [Sum]

    package init(_ kind: Kind, _ stamp: Stamp, cells: [Cell] = [], sums: [Sum] = []) {
        self.kind = kind
        self.stamp = stamp
        self.cells = cells
        self.sums = sums
    }
}

/// All that is remembered of one row: a function of the set of its changes, whatever their order and however often they come.
///
/// The row is there when its latest insert is later than its latest delete. A column has the value of its latest change
/// if that is not before the insert, else its default. A counter is the sum of what each origin has added after the delete.
/// Kept in one form only, without what can no longer matter, so that equal states are equal bytes.
package struct RowState: Equatable, Sendable {
    package struct Cell: Equatable, Sendable {
        package let column: Int
        package var stamp: Stamp
        package var value: SQLValue
        package init(column: Int, stamp: Stamp, value: SQLValue) {
            self.column = column
            self.stamp = stamp
            self.value = value
        }
    }
    /// One origin's part of a counter; the stamp is of that origin.
    package struct Share: Equatable, Sendable {
        package let column: Int
        package var stamp: Stamp
        package var sum: Int64
        package init(column: Int, stamp: Stamp, sum: Int64) {
            self.column = column
            self.stamp = stamp
            self.sum = sum
        }
    }

    /// Zero when the row is not there.
    package var insert = Stamp.zero
    /// Zero when it was never deleted, or that was forgotten.
    package var delete = Stamp.zero
    /// By column. Of a row that is there, columns that are missing have the stamp of the insert.
    package var cells: [Cell] = []
    /// By column, then origin.
    package var shares: [Share] = []

    package init() {}

    package var isAlive: Bool { insert > delete }
    /// Nothing is remembered: as if the row had never been.
    package var isEmpty: Bool { self == RowState() }
    /// The latest change that is remembered.
    package var latest: Stamp {
        let values = cells.reduce(Stamp.zero) { max($0, $1.stamp) }
        let counted = shares.reduce(Stamp.zero) { max($0, $1.stamp) }
        return max(max(insert, delete), max(values, counted))
    }

    package func cell(_ column: Int) -> Cell? { cells.first { $0.column == column } }
    package func counter(_ column: Int) -> Int64 {
        shares.reduce(0) { $1.column == column ? $0 &+ $1.sum : $0 }
    }
    /// What `origin` has to say it added, so that the counter shows `value`.
    package func ownSum(showing value: Int64, column: Int, origin: Origin) -> Int64 {
        shares.reduce(value) { $1.column == column && $1.stamp.origin != origin ? $0 &- $1.sum : $0 }
    }

    /// What a column or row had, of two writers.
    package enum Side: Equatable, Sendable { case value(SQLValue), present, deleted }
    /// A value that gave way to another one, of another origin. Whether one had seen the other is for the caller to tell.
    package struct Overwrite: Equatable, Sendable {
        /// Nil for the row as a whole.
        package let column: Int?
        package let winner: Stamp
        package let kept: Side
        package let loser: Stamp
        package let lost: Side
    }

    /// Takes a change in. The overwrites are complete when this state has the values of all columns.
    @discardableResult
    package mutating func merge(_ change: RowChange) -> [Overwrite] {
        switch change.kind {
        case .insert: mergeInsert(change)
        case .update: mergeUpdate(change)
        case .delete: mergeDelete(change.stamp)
        }
    }

    private mutating func mergeInsert(_ change: RowChange) -> [Overwrite] {
        let stamp = change.stamp
        guard stamp > delete else { return lostToDelete(stamp) }
        mergeShares(change)
        if stamp == insert { return [] }
        if stamp < insert { return change.cells.compactMap { lost($0, stamp) } }
        var overwrites: [Overwrite] = []
        if isAlive {
            for new in change.cells {
                guard let old = cell(new.column), old.stamp < stamp else {
                    if let lost = lost(new, stamp) { overwrites.append(lost) }
                    continue
                }
                if let won = won(new, stamp, over: old) { overwrites.append(won) }
            }
        }
        insert = stamp
        cells.removeAll { $0.stamp < stamp }
        for new in change.cells where cell(new.column) == nil {
            put(Cell(column: new.column, stamp: stamp, value: new.value))
        }
        return overwrites
    }

    private mutating func mergeUpdate(_ change: RowChange) -> [Overwrite] {
        let stamp = change.stamp
        guard stamp > delete else { return lostToDelete(stamp) }
        mergeShares(change)
        if stamp < insert { return change.cells.compactMap { lost($0, stamp) } }
        var overwrites: [Overwrite] = []
        for new in change.cells {
            if let old = cell(new.column) {
                // Equal: columns of an insert that were not known here when it came.
                guard stamp >= old.stamp else {
                    if let lost = lost(new, stamp) { overwrites.append(lost) }
                    continue
                }
                if let won = won(new, stamp, over: old) { overwrites.append(won) }
            }
            put(Cell(column: new.column, stamp: stamp, value: new.value))
        }
        return overwrites
    }

    private mutating func mergeDelete(_ stamp: Stamp) -> [Overwrite] {
        guard stamp > delete else { return [] }
        var overwrites: [Overwrite] = []
        if isAlive, stamp < insert {
            if stamp.origin != insert.origin {
                overwrites = [
                    Overwrite(column: nil, winner: insert, kept: .present, loser: stamp, lost: .deleted)
                ]
            }
        } else if isAlive {
            // The latest of what the delete takes away by another origin.
            let gone = ([insert] + cells.map(\.stamp) + shares.map(\.stamp))
                .filter { $0 < stamp && $0.origin != stamp.origin }.max()
            if let gone {
                overwrites = [Overwrite(column: nil, winner: stamp, kept: .deleted, loser: gone, lost: .present)]
            }
        }
        delete = stamp
        if insert < stamp {
            insert = .zero
            cells.removeAll { $0.stamp < stamp }
        }
        shares.removeAll { $0.stamp < stamp }
        return overwrites
    }

    private mutating func mergeShares(_ change: RowChange) {
        for sum in change.sums {
            let share = Share(column: sum.column, stamp: change.stamp, sum: sum.sum)
            let place = shares.firstIndex { ($0.column, $0.stamp.origin) >= (share.column, share.stamp.origin) }
            guard let place else {
                shares.append(share)
                continue
            }
            if shares[place].column != share.column || shares[place].stamp.origin != share.stamp.origin {
                shares.insert(share, at: place)
            } else if shares[place].stamp < share.stamp {
                shares[place] = share
            }
        }
    }

    private mutating func put(_ cell: Cell) {
        let place = cells.firstIndex { $0.column >= cell.column } ?? cells.count
        if place < cells.count, cells[place].column == cell.column {
            cells[place] = cell
        } else {
            cells.insert(cell, at: place)
        }
    }

    private func lostToDelete(_ stamp: Stamp) -> [Overwrite] {
        guard stamp.origin != delete.origin else { return [] }
        return [Overwrite(column: nil, winner: delete, kept: .deleted, loser: stamp, lost: .present)]
    }
    private func lost(_ new: RowChange.Cell, _ stamp: Stamp) -> Overwrite? {
        guard let old = cell(new.column), old.stamp.origin != stamp.origin, old.value != new.value else { return nil }
        return Overwrite(
            column: new.column, winner: old.stamp, kept: .value(old.value), loser: stamp, lost: .value(new.value))
    }
    private func won(_ new: RowChange.Cell, _ stamp: Stamp, over old: Cell) -> Overwrite? {
        guard old.stamp.origin != stamp.origin, old.value != new.value else { return nil }
        return Overwrite(
            column: new.column, winner: stamp, kept: .value(new.value), loser: old.stamp, lost: .value(old.value))
    }
}
