//! How are long lists kept?
