//! Where the repository's own nginx and Lua files are.

use std::path::{Path, PathBuf};

use super::error::DevError;

/// The folder that holds `nginx/` and `lua/`.
#[derive(Clone, Debug)]
pub struct Source {
    root: PathBuf,
}

impl Source {
    /// The source folder at `root`.
    pub fn at(root: &Path) -> Result<Self, DevError> {
        let root = std::path::absolute(root)
            .map_err(DevError::io(format!("find the folder {}", root.display())))?;
        if root.join("nginx/pointsman/http.conf").is_file()
            && root.join("lua/pointsman.lua").is_file()
        {
            Ok(Self { root })
        } else {
            Err(DevError::NoSource(root))
        }
    }

    /// The folder that we are in, or the nearest one above that fits.
    pub fn around(dir: &Path) -> Result<Self, DevError> {
        let dir = std::path::absolute(dir)
            .map_err(DevError::io(format!("find the folder {}", dir.display())))?;
        dir.ancestors()
            .find_map(|above| Self::at(above).ok())
            .ok_or_else(|| DevError::NoSource(dir.clone()))
    }

    /// The top folder.
    pub fn root(&self) -> &Path {
        &self.root
    }

    /// The folder of the nginx includes.
    pub fn nginx(&self) -> PathBuf {
        self.root.join("nginx")
    }

    /// The folder of the Lua code.
    pub fn lua(&self) -> PathBuf {
        self.root.join("lua")
    }
}
