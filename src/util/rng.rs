//! Where does chance come from? Injected and seedable.
